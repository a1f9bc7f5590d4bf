"""From files to a Store, and from a Store to batches."""
