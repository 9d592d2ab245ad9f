"""The only place of other threads. Without it every number is the same, and training waits longer.

A snapshot copies the tensors that deferred metrics read. A worker computes these metrics while training goes on. A
budget says whether the machine has a core and memory to spare for it.

Gain, on the VGG-7 with singular values at every step: 0.06 of a step (``tests/benchmarks/probe_overhead.py time``).
"""
