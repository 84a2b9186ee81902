"""One pass over all rows: lengths, outcomes, packing."""
