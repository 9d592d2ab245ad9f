"""Preparation of trained networks for small machines: folded norms, ONNX, int8, pruning, latency."""
