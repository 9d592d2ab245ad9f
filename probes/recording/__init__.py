"""From numbers to rows: the record of one step, its Arrow tables, and the thread that hands them to the store."""
