"""Columns of tables: the description of a column, columns that no metric fills, and marks of unrecorded ones."""
