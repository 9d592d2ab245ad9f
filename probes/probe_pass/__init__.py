"""A fixed batch passed through the model in evaluation mode: what each nonlinearity sees of it."""
