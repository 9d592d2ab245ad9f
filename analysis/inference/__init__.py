"""Statistics over the runs of an experiment: intervals, paired differences, regressions, power. Extra ``stats``."""
