"""`SFTStream`, the public class, and how a config becomes the parts of a stream."""

from samsum_stream.stream.stream import SFTStream

__all__ = ["SFTStream"]
