"""The loss around the point that a training has reached: its slope, its curvature, the coupling of layers."""
