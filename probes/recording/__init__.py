"""From numbers to rows: the record of one step, its Arrow tables, and the thread that writes them to the store."""
