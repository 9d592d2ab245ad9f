"""What every kind of run needs: options, events, progress, checkpoints, ranks, device."""
