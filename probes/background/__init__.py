"""Computing metrics in a second thread while training goes on. Optional: numbers are the same without it.

A snapshot copies the tensors that deferred metrics read. A worker computes these metrics while training goes on. A
budget says whether the machine has a core and memory to spare for the worker.

Gain: 2 to 4 % of a step on VGG-7 with singular values at every step, nothing on networks of small matrices
(``notes/background_gain.py``; figures in ``notes/performance.md``).
"""
