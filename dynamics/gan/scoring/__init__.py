"""Scores of a GAN: samples, feature extractors, distances between distributions, steepness of the critic."""
