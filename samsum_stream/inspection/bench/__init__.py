"""Measures the throughput of a stream and of each of its stages."""
