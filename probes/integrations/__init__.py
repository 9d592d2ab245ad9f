"""Probes for the training frameworks.

A new integration is a file here, an extra in pyproject.toml, a page in the docs and a test. It makes a
:class:`probes.Probe` when training begins. It sets ``probe.epoch``, calls ``probe.log`` and ``probe.close``, and keeps
``probe.state_dict()`` in the framework's own checkpoints. It needs nothing else of the probe.
"""
