"""The observed model: which layers, under which names, and how their weights are read without a trace."""
