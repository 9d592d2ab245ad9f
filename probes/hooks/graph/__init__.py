"""Reading the autograd graph of a training pass."""
