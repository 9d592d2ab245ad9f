"""Columns of tables: what describes one, those that tables have beside their metrics, and marks of unrecorded ones."""
