"""How rows reach a store and stay there: log, parts, ownership, recovery, compaction, verification, export."""
