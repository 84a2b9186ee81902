"""What DataLoader workers send: taken as it is, and their death told so that one knows how to go on."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from samsum_stream.errors import WorkerError

T = TypeVar("T")


def received(sent: Iterable[T], *, remedy: str) -> Iterator[T]:
    """What workers send.

    Raises:
        WorkerError: one of them died; the message ends with `remedy`.
    """
    try:
        yield from sent
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise WorkerError(f"{error}; {remedy}. A worker that was killed often ran out of memory") from error


def as_it_is(sent: Any) -> Any:
    """The `collate_fn` of what is no tensor: by default torch rebuilds mappings and turns arrays to tensors."""
    return sent
