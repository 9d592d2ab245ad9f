"""Mirrors: the numbers of a probe, shown in another tool that the user works with.

A new mirror is a file here that opens a :class:`probes.mirrors.mirror.Screen`, a line in ``MIRRORS`` of ``mirrors.py``
and an extra in pyproject.toml.
"""
