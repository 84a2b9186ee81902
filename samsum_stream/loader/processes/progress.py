"""What a terminal shows while something takes long: on stderr, of the first rank alone, and gone when it is over."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


def counting(text: str) -> Progress:
    """A bar of rows, with a task to advance."""
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=(console := Console(stderr=True)), transient=True, disable=not _is_seen(console))


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A line that says what is waited for."""
    console = Console(stderr=True)
    if not _is_seen(console):
        yield
        return
    with console.status(text):
        yield


def _is_seen(console: Console) -> bool:
    has_group = torch.distributed.is_available() and torch.distributed.is_initialized()
    return console.is_terminal and not (has_group and torch.distributed.get_rank())
