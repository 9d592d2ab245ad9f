"""The opening of a run: its name, its start, and the open probes of this process."""
