"""Plans of experiments: named arms times seeds, the time they take, and those that ship with the package."""
