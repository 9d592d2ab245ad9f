"""Interventions on a norm: its parts taken away, held or injected one at a time, to tell which of them acts."""
