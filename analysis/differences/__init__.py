"""Comparison of two runs, row by row: where they part first."""
