"""Networks, norms, data sets and trainings for the probes to observe."""
