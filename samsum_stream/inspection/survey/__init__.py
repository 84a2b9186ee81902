"""`stats`: all rows, read once."""
