"""Local files and files behind URLs."""
