"""Remote files that turn out broken while they are read: another read may bring the right bytes."""

from collections.abc import Callable, Iterator

from samsum_stream.errors import SourceError
from samsum_stream.sources.base import Block
from samsum_stream.sources.files.expand import File
from samsum_stream.sources.files.remote import Attempts, RemoteFile


class BrokenFile(SourceError):
    """The bytes of a file do not follow its format."""


def retry_blocks(
    read: Callable[[int], Iterator[Block]], *, file: File, start: int, is_compressed: bool = False
) -> Iterator[Block]:
    """The blocks of `read(start)`; if a remote file is broken, reading continues with `read(next row)`.

    A compressed file has its checksums after its rows. Once rows of it were delivered, it is not read again.

    Raises:
        SourceError: the file is broken in all attempts.
    """
    row, blocks = start, read(start)

    def next_block() -> Block | None:
        nonlocal blocks
        try:
            return next(blocks, None)
        except BrokenFile:
            blocks = read(row)
            raise

    def is_retried(error: Exception) -> bool:
        return isinstance(error, BrokenFile) and isinstance(file, RemoteFile) and (row == start or not is_compressed)

    attempts = Attempts(f"reading {file}", retries=is_retried)

    def attempt() -> Block | None:
        try:
            return attempts.call(next_block)
        except BrokenFile as error:
            raise SourceError(str(error)) from error.__cause__

    # No `yield` in a `try`: an iterator that is open when Python exits is closed when BrokenFile no longer exists.
    while (block := attempt()) is not None:
        yield block
        row += block.num_rows
