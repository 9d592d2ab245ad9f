"""Texts as numbers of their characters: reading from a file, the held-out part, windows."""
