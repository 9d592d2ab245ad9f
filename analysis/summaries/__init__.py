"""Pure functions from tables to tables: arms, transforms, densities, choices of layers."""
