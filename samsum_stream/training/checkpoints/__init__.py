"""Checkpoints of a Trainer: which are complete on the disk, and their copies in a store."""
