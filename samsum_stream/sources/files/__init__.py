"""Files, local or behind URLs."""
