"""Conversations from the values of rows, in one normal form whatever form the rows have."""
