"""A fixed batch passed through the model in evaluation mode, and the input of each nonlinearity in that pass."""
