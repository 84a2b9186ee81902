"""What all tests share: no network, no time limits on properties, and the small tokenizer."""

import json
import os
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes test at a time, and each starts others

import pytest
from hypothesis import settings
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from samsum_stream.loader.epochs.plan import warn_once

SMALL_TOKENIZER = Path(__file__).resolve().parents[1] / "examples" / "data" / "tokenizer"

settings.register_profile("suite", deadline=None, database=None)
settings.load_profile("suite")


FORKING = ("test_c6_resuming.py", "test_c5_topologies.py", "test_loader.py", "test_supervision.py", "test_mixture.py")
"""These start hundreds of processes, which costs the more the more memory the tests before them have taken."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in FORKING)


@pytest.fixture(autouse=True)
def nothing_said_yet() -> None:
    """What is said once in a process is said once in a test."""
    warn_once.cache_clear()


@pytest.fixture(scope="session")
def small_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer that puts a bos in front; bos, eos and pad are three tokens."""
    return AutoTokenizer.from_pretrained(SMALL_TOKENIZER)


@pytest.fixture
def bare_tokenizer() -> PreTrainedTokenizerBase:
    """The same, but it adds no token by itself."""
    tokenizer = AutoTokenizer.from_pretrained(SMALL_TOKENIZER)
    return altered(tokenizer, post_processor=None)


def altered(tokenizer: PreTrainedTokenizerBase, **parts: Any) -> PreTrainedTokenizerBase:
    """The tokenizer with other parts in its serialized form, such as `normalizer={"type": "Strip", ...}`."""
    serialized = {**json.loads(tokenizer.backend_tokenizer.to_str()), **parts}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(serialized)),
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
    )
