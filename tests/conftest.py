"""Shared settings and fixtures: no network, no time limits on properties, and the small tokenizer."""

import itertools
import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes run tests at a time, and each starts other processes

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from samsum_stream.errors.once import warn_once

if TYPE_CHECKING:
    from tests.s3 import Server

multiprocessing.set_forkserver_preload(["tests.resuming"])  # workers of a fork server start at once

SMALL_TOKENIZER = Path(__file__).resolve().parents[1] / "examples" / "data" / "tokenizer"

settings.register_profile("suite", deadline=None, database=None)
settings.load_profile("suite")


FORKING = ("test_c6_resuming.py", "test_c5_topologies.py", "test_loader.py", "test_supervision.py", "test_mixture.py")
"""Tests that fork hundreds of processes. They run first: a fork takes longer if earlier tests have used more memory."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in FORKING)


@pytest.fixture(autouse=True)
def reset_warn_once() -> None:
    """A warning that is shown once per process is shown once per test."""
    warn_once.cache_clear()


@pytest.fixture(scope="module")
def server() -> Iterator["Server"]:
    """An S3 server behind a proxy that can break requests."""
    from tests.s3 import serve  # the import takes a second

    with serve() as server:
        yield server


@pytest.fixture
def short_waits() -> Iterator[None]:
    """A failed request is sent again after milliseconds."""
    from samsum_stream.sources.files import remote

    with (
        mock.patch.multiple(remote, FIRST_DELAY=0.001, MAX_DELAY=0.01),
        mock.patch("s3fs.core.S3FileSystem.retries", 1),
    ):
        yield


_FOLDERS = itertools.count()


@pytest.fixture
def url(server: "Server", short_waits: None) -> Iterator[str]:
    """The URL of a folder that does not exist yet, on the S3 server."""
    with server.as_default() as bucket:
        yield f"{bucket}/runs/{next(_FOLDERS)}"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """With more threads, the small models of the tests are slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer that adds a bos at the start; bos, eos and pad are three tokens."""
    return AutoTokenizer.from_pretrained(SMALL_TOKENIZER)


@pytest.fixture
def bare_tokenizer() -> PreTrainedTokenizerBase:
    """The same tokenizer, but it adds no special token."""
    tokenizer = AutoTokenizer.from_pretrained(SMALL_TOKENIZER)
    return altered(tokenizer, post_processor=None)


def altered(tokenizer: PreTrainedTokenizerBase, **components: Any) -> PreTrainedTokenizerBase:
    """The tokenizer with other components in its serialized form, such as `normalizer={"type": "Strip", ...}`."""
    serialized = {**json.loads(tokenizer.backend_tokenizer.to_str()), **components}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(serialized)),
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
    )
