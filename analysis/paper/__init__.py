"""The paper's Tables I to III from a store, beside the published numbers."""
