"""Interventions on a norm: its parts are removed, frozen or injected one at a time, to find the part that matters."""
