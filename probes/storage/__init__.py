"""The store: log, parts, writer lock, recovery, compaction, verification and export."""
