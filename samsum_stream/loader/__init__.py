"""Batches over process borders, in order and resumable: `StreamLoader`."""

from samsum_stream.loader.loader import StreamLoader

__all__ = ["StreamLoader"]
