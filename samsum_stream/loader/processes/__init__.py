"""Ranks of a job, worker processes of a DataLoader, threads, and progress on a terminal."""
