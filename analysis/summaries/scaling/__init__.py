"""How sizes grow with the width of a network."""
