"""GANs under probes: training of generator and critic in one run, and scores of the generated images."""
