"""Plans of experiments: named arms times seeds, their estimated time, and the plans that ship with the package."""
