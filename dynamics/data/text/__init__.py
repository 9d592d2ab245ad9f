"""Texts as numbers of their characters: read from a file, held out in part, cut into windows."""
