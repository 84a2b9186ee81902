"""Tests with every way to start workers; the slow ones import the package again in each worker."""

import pytest

START_METHODS = pytest.mark.parametrize("method", ["fork", "forkserver", pytest.param("spawn", marks=pytest.mark.slow)])
