"""GANs under probes: generator and critic in one run, and scores whose names tell their extractor."""
