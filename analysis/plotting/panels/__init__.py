"""Figures with several panels: one panel per layer, norm or quantity."""
