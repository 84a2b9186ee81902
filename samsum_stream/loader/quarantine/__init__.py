"""The list of the bad rows that were skipped, in a file of each rank."""
