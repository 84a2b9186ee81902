"""How many tokens per second each stage produces."""
