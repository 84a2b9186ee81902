"""Tiny models train on one thread."""

from collections.abc import Iterator

import pytest

from tests.models import one_thread


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    with one_thread():
        yield
