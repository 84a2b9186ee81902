"""Files that turn out broken while they are read: what came over a network may be whole when it comes again."""

from collections.abc import Callable, Iterator

from samsum_stream.errors import SourceError
from samsum_stream.sources.base import Block
from samsum_stream.sources.files.expand import File, is_gzip
from samsum_stream.sources.files.remote import Attempts, RemoteFile


class BrokenFile(SourceError):
    """The bytes of a file are not what its format asks for."""


def reread(blocks: Callable[[int], Iterator[Block]], *, file: File, start: int) -> Iterator[Block]:
    """What `blocks(start)` gives; where a remote file is broken, `blocks` goes on from the next row.

    A gzip file has its checksum at its end, which counts for all that came before: once rows of it were handed over,
    it is not read again.
    """
    row, attempts = start, Attempts(f"reading {file}")
    while True:
        try:
            for block in blocks(row):
                yield block
                row += block.num_rows
            return
        except BrokenFile as error:
            is_open = row == start or not is_gzip(file)
            if not (isinstance(file, RemoteFile) and is_open and attempts.again(error)):
                raise SourceError(str(error)) from error.__cause__
