"""JSON lines, read by byte offset or from start to end."""
