"""Scores of a GAN: samples, feature extractors, distances between distributions, gradients of the critic."""
