"""Hooks on modules, parameters and optimizers.

A new kind of hook is a class in this folder. ``probes/step_cycle.py`` makes it, starts it at each step, reads it and
removes it. A class whose measurements metrics can read has a method ``sources()``: see ``gradient_hooks.py``.
"""
