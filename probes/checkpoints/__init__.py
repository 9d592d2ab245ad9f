"""Checkpoints: the weights of a model or of files, measured as the probe measures them, without training."""
