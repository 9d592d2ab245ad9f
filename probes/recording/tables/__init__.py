"""Arrow record batches of the store's tables, made from records."""
