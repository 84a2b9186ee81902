"""Validated rows from raw rows."""
