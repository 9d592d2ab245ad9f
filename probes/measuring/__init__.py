"""From tensors to numbers: the sources of one step, each read at most once, and the metrics that are due."""
