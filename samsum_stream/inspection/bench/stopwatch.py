"""A stopwatch that measures one stage at a time: if a stage calls another stage, only the called stage is measured."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

Params = ParamSpec("Params")
Result = TypeVar("Result")


class Stopwatch:
    """Measures the seconds of each stage; it starts with the stage `stage`.

    Attributes:
        seconds: Seconds by stage; `switch` updates the seconds of the current stage.
    """

    def __init__(self, stage: str) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._stage, self._since = stage, time.perf_counter()

    def switch(self, stage: str) -> str:
        """Measure `stage` from now on; returns the previous stage."""
        now, before = time.perf_counter(), self._stage
        self.seconds[before] += now - self._since
        self._stage, self._since = stage, now
        return before

    def timed(self, stage: str, function: Callable[Params, Result]) -> Callable[Params, Result]:
        """A function that counts the time of `function` for a stage."""

        def timed(*args: Params.args, **kwargs: Params.kwargs) -> Result:
            before = self.switch(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self.switch(before)

        return timed

    def timed_items(self, stage: str, items: Iterable[Result]) -> Iterator[Result]:
        """The items; the time to produce them counts for a stage."""
        next_item = self.timed(stage, iter(items).__next__)
        while True:
            try:
                item = next_item()
            except StopIteration:
                return
            yield item


@contextmanager
def replaced(part: object, method: str, other: Callable[..., object]) -> Iterator[None]:
    """Within this context, a method of an object is replaced by another function."""
    setattr(part, method, other)
    try:
        yield
    finally:
        delattr(part, method)
