"""Networks, norms, data and the training loop: what the probes observe."""
