"""Inputs of nonlinearities: the layers before them, and the drift of their channels."""
