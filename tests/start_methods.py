"""Tests with every way to start workers; the slow ones import the package again in each worker.

`python -m tests.start_methods spawn tests/loader` runs tests with workers that start in this way by default.
"""

import multiprocessing
import sys

import pytest

START_METHODS = pytest.mark.parametrize("method", ["fork", "forkserver", pytest.param("spawn", marks=pytest.mark.slow)])

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    raise SystemExit(pytest.main(["-q", "-p", "no:xdist", "-o", "addopts=", "-m", "not slow", *sys.argv[2:]]))
