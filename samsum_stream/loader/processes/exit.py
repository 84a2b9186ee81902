"""Closes iterators that are still open when Python exits.

Otherwise, Python closes them while it removes modules. Then the names that their `except` and `finally` blocks use no
longer exist, and each iterator prints a traceback.
"""

import atexit
import functools
import logging
import os
from collections.abc import Callable, Generator
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from samsum_stream.errors import SamsumStreamError

logger = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

_OPENED: WeakKeyDictionary[Generator[Any], int] = WeakKeyDictionary()
"""Generators, each with the id of the process that opened it. A forked process must not close those of its parent."""


def closed_at_exit(function: Callable[P, Generator[T]]) -> Callable[P, Generator[T]]:
    """The same generator function. Its generators that are still open at the end of the process are closed there."""

    @functools.wraps(function)
    def opened(*args: P.args, **kwargs: P.kwargs) -> Generator[T]:
        generator = function(*args, **kwargs)
        _OPENED[generator] = os.getpid()
        return generator

    return opened


@atexit.register
def _close_all() -> None:
    for generator, pid in list(_OPENED.items()):
        if pid == os.getpid():
            try:
                generator.close()
            except ValueError:  # another thread executes it
                continue
            except SamsumStreamError as error:  # too late for requests: the threads of the clients have ended
                logger.warning("%s", error)
