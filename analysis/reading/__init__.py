"""Reading a store: its tables as DataFrames and as Arrow data sets."""
