"""The whole flow for the lanes of one worker: rows to batches."""
