"""Trained networks made ready for small machines: norms folded, ONNX, int8, pruning, latency."""
