"""Datasets of the `datasets` library."""
