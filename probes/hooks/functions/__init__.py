"""Function calls in the forward that no module's output shows: attention, and the choices of routers."""
