"""Progress on stderr while something takes long: only on a terminal, only on the first rank, removed at the end."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from samsum_stream.loader.processes.ranks import is_distributed


def counting(text: str) -> Progress:
    """A progress bar that counts rows. The caller adds a task and advances the task."""
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not _is_visible(console))


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show `text` beside a spinner inside the `with` block."""
    console = Console(stderr=True)
    if not _is_visible(console):
        yield
        return
    with console.status(text):
        yield


def _is_visible(console: Console) -> bool:
    return console.is_terminal and not (is_distributed() and torch.distributed.get_rank())
