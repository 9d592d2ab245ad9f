"""Names of one's own: layers renamed, and layers taken together as groups."""
