"""Drawing in one panel: curves, limits, marks and notes."""
