"""Parts that every kind of run shares: options, events, progress, checkpoints, ranks, device."""
