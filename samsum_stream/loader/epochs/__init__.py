"""Finite streams: the lengths of all examples, and the plan of each epoch."""
