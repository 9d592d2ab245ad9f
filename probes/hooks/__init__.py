"""Hooks on modules, parameters and optimizers.

A new kind is a class here that ``probes/step_cycle.py`` makes, starts at each step, reads and removes. Hooks that offer
sources have ``sources()``: see ``gradient_hooks.py``.
"""
