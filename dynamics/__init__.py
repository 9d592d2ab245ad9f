"""Networks, norms, data sets and trainings that the probes observe."""
