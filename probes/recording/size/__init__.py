"""How many bytes a run writes: the estimate before it, and the limit that it stays below."""
