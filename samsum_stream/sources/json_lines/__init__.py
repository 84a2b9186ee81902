"""JSON lines, by byte offset or from start to end."""
