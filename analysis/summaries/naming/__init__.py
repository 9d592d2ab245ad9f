"""Names that a user chooses: layers renamed, and layers taken together as groups."""
