"""The position in the data: as a dict, and on disk."""
