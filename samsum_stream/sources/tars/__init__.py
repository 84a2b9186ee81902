"""Tar shards in the layout of the webdataset library."""
