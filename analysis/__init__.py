"""Tables, figures and reports from a store. Never imports torch."""
