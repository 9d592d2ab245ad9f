"""GANs under probes: generator and critic in one run, and scores that say what they were measured with."""
