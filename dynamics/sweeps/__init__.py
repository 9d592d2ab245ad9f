"""Many runs: grids, processes, Ray, the paper's experiments."""
