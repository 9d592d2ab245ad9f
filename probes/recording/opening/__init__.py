"""The opening of a run: its name, its start, and the probes of this process that are open."""
