"""Upper bounds of a network: products of layer norms, spectral complexity, Lipschitz constant."""
