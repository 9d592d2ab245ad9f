"""The observed model: its layers, their names, and readers of their weights that change nothing."""
