"""The data types that the stages exchange: rows, examples, batches, counts."""
