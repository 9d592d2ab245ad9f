"""The display of a run in progress in a terminal."""
