"""A clock that runs for one stage at a time: where one calls another, it runs for the one that was called."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

Params = ParamSpec("Params")
Result = TypeVar("Result")


class Stopwatch:
    """Seconds by stage; it starts with the stage `stage`.

    Attributes:
        seconds: How long the clock ran for each stage; the one that it runs for is brought up to date by `switch`.
    """

    def __init__(self, stage: str) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._stage, self._since = stage, time.perf_counter()

    def switch(self, stage: str) -> str:
        """Let the clock run for a stage from now on; returns the one that it ran for."""
        now, before = time.perf_counter(), self._stage
        self.seconds[before] += now - self._since
        self._stage, self._since = stage, now
        return before

    def timed(self, stage: str, function: Callable[Params, Result]) -> Callable[Params, Result]:
        """The function, while which the clock runs for a stage."""

        def timed(*args: Params.args, **kwargs: Params.kwargs) -> Result:
            before = self.switch(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self.switch(before)

        return timed

    def each(self, stage: str, items: Iterable[Result]) -> Iterator[Result]:
        """The items, while each of which is made the clock runs for a stage."""
        make = self.timed(stage, iter(items).__next__)
        while True:
            try:
                item = make()
            except StopIteration:
                return
            yield item


@contextmanager
def replaced(part: object, method: str, other: Callable[..., object]) -> Iterator[None]:
    """For a while, another function stands for a method of an object."""
    setattr(part, method, other)
    try:
        yield
    finally:
        delattr(part, method)
