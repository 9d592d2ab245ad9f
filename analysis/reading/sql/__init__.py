"""SQL over a store with DuckDB."""
