"""Raw rows to validated rows."""
