"""Examples to packs, and packs to tensors."""
