"""The data types that the stages exchange."""
