"""Drawing inside one panel: curves, limits, marks and notes."""
