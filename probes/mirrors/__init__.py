"""Mirrors: what a probe records, shown in the tool that the user looks at anyway.

A new one is a file here that opens a :class:`probes.mirrors.mirror.Screen`, a line in ``MIRRORS`` of ``mirrors.py`` and
an extra in pyproject.toml.
"""
