"""Changes of a finished network: another norm, or none."""
