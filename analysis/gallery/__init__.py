"""Figures of a store, as objects and as files with provenance."""
