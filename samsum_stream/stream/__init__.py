"""The face: `SFTStream`, composed of all that stands below."""

from samsum_stream.stream.stream import SFTStream

__all__ = ["SFTStream"]
