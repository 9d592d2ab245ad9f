"""Hooks on optimizers: when a step is made, with which gradients and learning rates."""
