"""Image data sets as tensors in memory, and training batches from them."""
