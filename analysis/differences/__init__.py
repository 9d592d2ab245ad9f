"""Comparison of two runs, row by row: the first difference."""
