"""Sources for the `datasets` library."""
