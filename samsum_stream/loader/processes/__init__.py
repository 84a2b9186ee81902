"""Ranks, workers and threads."""
