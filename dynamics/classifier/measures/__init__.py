"""Measurements of the whole network between two epochs of a training."""
