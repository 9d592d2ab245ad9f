"""What nonlinearities see: which layers are before one, and how their channels drift."""
