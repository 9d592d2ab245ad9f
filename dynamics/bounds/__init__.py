"""Upper bounds for a network: products of layer norms, spectral complexity, Lipschitz constant."""
