"""Hooks on modules, parameters and optimizers. Each kind of hook offers the sources that it can read."""
