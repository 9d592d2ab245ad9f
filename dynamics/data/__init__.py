"""Image sets held whole as tensors, and the batches cut from them."""
