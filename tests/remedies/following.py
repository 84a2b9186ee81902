"""Follows the remedy that an error message names: the config fails with it, and works after the change.

A config is a mapping with the keys of the YAML, and with

    rows        rows in memory; or a function that returns what is passed as rows
    files       the files in the working directory, by name: bytes, a text, or rows that are written as JSON lines
    template    the chat template of the tokenizer
    tokenizer   a function that returns the tokenizer; None if `base_model` names it
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tokenizers import AddedToken

from samsum_stream import IGNORE_INDEX, RowError, SamsumStreamError, SFTStream
from tests.contracts.conversations import small_tokenizer

GOOD = {"input": "one", "response": "two"}
REMOVED: Any = object()
"""The value of a key that a remedy removes."""

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|observation|>", "<think>", "</think>")


class Remedy(NamedTuple):
    """An error with its remedy.

    Attributes:
        text: The part of the message that names the remedy.
        fails: A config that causes the error.
        works: What the remedy changes in it.
        is_of_row: Whether only the last row is bad, so that it can also be left out, or skipped by `fault_config`.
    """

    text: str
    fails: Mapping[str, Any]
    works: Mapping[str, Any]
    is_of_row: bool = False


def source(method: str, path: Any = "", columns: Mapping[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
    """The section of a source."""
    path_of = {"path": path} if path != "" else {}
    return {"source_config": {"method": method, "kwargs": {**path_of, **kwargs}, "columns": columns or {}}}


def columns(**named: Any) -> dict[str, Any]:
    """The section of rows in memory with columns."""
    return {"source_config": {"columns": named}}


def row(text: str, bad: Mapping[str, Any], fixed: Any, *, good: Mapping[str, Any] = GOOD, **config: Any) -> Remedy:
    """A bad row after a good one; the remedy changes the row to `fixed`."""
    return Remedy(text, {"rows": [good, bad], **config}, {"rows": [good, fixed]}, is_of_row=True)


def setting(text: str, bad: Mapping[str, Any], works: Any, *, good: Mapping[str, Any] = GOOD, **config: Any) -> Remedy:
    """A bad row after a good one; the remedy changes the config."""
    return Remedy(text, {"rows": [good, bad], **config}, works, is_of_row=True)


def parametrized(remedies: Mapping[str, Remedy]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Runs a test for each remedy."""
    return pytest.mark.parametrize("remedy", [pytest.param(remedy, id=name) for name, remedy in remedies.items()])


def follow(remedy: Remedy) -> None:
    """Check that the config fails with the remedy, and gives batches with trained tokens after the remedy."""
    with pytest.raises(SamsumStreamError) as caught:
        num_trained(remedy.fails)
    assert remedy.text in str(caught.value), str(caught.value)
    works = {**remedy.fails, **remedy.works}
    assert num_trained({key: value for key, value in works.items() if value is not REMOVED})
    if remedy.is_of_row:
        assert isinstance(caught.value, RowError)
        skips = {"fault_config": {"on_bad_row": "skip", "max_bad_rows": 1}}
        without = {"rows": remedy.fails["rows"][:-1]}
        assert num_trained({**remedy.fails, **skips}) == num_trained({**remedy.fails, **without}) > 0


def num_trained(config: Mapping[str, Any]) -> int:
    """The number of trained tokens in the batches of a config."""
    stream = stream_of(dict(config))
    return sum(int((batch["labels"] != IGNORE_INDEX).sum()) for batch in stream.loader(num_workers=0))


def stream_of(config: dict[str, Any]) -> SFTStream:
    """The stream of a config, after its files are written."""
    for name, content in config.pop("files", {}).items():
        _write(Path(name), content)
    rows, template = config.pop("rows", None), config.pop("template", None)
    tokenizer = config.pop("tokenizer", lambda: _tokenizer(template))
    settings = {"tokenizer_config": {"backend": "hf"}, **config}
    passed = {} if tokenizer is None else {"tokenizer": tokenizer()}
    return SFTStream.from_config(settings, rows=rows() if callable(rows) else rows, **passed)


def _tokenizer(template: str | None) -> Any:
    tokenizer = small_tokenizer()
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIAL], special_tokens=True)
    tokenizer.chat_template = template
    return tokenizer


def _write(path: Path, content: bytes | str | list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
