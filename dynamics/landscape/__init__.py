"""The loss near the network's present parameters: its slope, its curvature, the coupling of layers."""
