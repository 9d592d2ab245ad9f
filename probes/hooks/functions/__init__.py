"""Function calls in the forward pass that no module's output shows: attention, and the choices of routers."""
