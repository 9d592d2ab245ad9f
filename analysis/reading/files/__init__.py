"""The files of a store: finished parts and log segments."""
