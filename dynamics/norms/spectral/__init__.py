"""Spectral normalisation of a weight, and its computation for all layers at once."""
