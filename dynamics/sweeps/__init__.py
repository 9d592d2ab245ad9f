"""Sweeps of many runs: grids, processes, Ray clusters, the paper's experiments."""
