"""Training a classifier: from the settings of a run to its rows in the store."""
