"""Parts shared by every kind of run: options, events, progress, checkpoints, ranks, device."""
