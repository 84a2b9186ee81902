"""Datasets saved by `save_to_disk`: an Arrow file that was cut or changed is an error."""

import json
from collections.abc import Iterator
from pathlib import Path
from unittest import mock
from zipfile import ZipFile

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pytest

from samsum_stream import SourceError
from samsum_stream.sources import SOURCES
from samsum_stream.sources.files import remote
from tests.streams import make_rows

ARROW = "data-00000-of-00001.arrow"


@pytest.fixture(autouse=True)
def short_waits() -> Iterator[None]:
    with mock.patch.multiple(remote, FIRST_DELAY=0.001, MAX_DELAY=0.01):
        yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with 2,500 rows, in batches of 1,000."""
    datasets.Dataset.from_list(make_rows(2500)).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def behind_a_url(folder: Path) -> str:
    for file in folder.iterdir():
        fsspec.filesystem("memory").pipe_file(f"/{folder.name}/{file.name}", file.read_bytes())
    return f"memory://{folder.name}"


def load(url: object) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = SOURCES["load_from_disk"](dataset_path=str(url)).to_list()  # type: ignore[attr-defined]
    return rows


def test_every_row_is_there(saved: Path) -> None:
    assert load(saved) == load(behind_a_url(saved)) == make_rows(2500)


def test_a_file_that_was_cut_between_two_batches_is_an_error(saved: Path) -> None:
    """Arrow itself reads it without an error."""
    content = (saved / ARROW).read_bytes()
    messages = pa.ipc.MessageReader.open_stream(read := pa.BufferReader(content))
    for _ in ("the schema", "a batch"):
        messages.read_next_message()
    (saved / ARROW).write_bytes(content[: read.tell()])
    assert len(datasets.load_from_disk(str(saved))) == 1000
    for url in (saved, behind_a_url(saved)):
        with pytest.raises(SourceError, match=rf"load_from_disk .*{ARROW} is cut: .*; fetch or write it again"):
            load(url)


def test_a_fetched_file_with_texts_beyond_its_end_is_an_error(saved: Path) -> None:
    """Reading its rows would crash the process."""
    numbers = np.fromfile(saved / ARROW, np.int32)
    starts = np.flatnonzero((numbers[:-2] == 2) & (numbers[1:-1] == 4) & (numbers[2:] == 6))
    numbers[starts[0]] = 1 << 30
    (saved / ARROW).write_bytes(numbers.tobytes())
    with pytest.raises(SourceError, match=rf"{ARROW} is broken \(ArrowInvalid: .*\) \(tried 6 times\)"):
        load(behind_a_url(saved))


@pytest.mark.parametrize("name", ["../elsewhere.arrow", "/etc/passwd"])
def test_a_file_outside_its_folder_is_not_fetched(saved: Path, name: str) -> None:
    state = json.loads((saved / "state.json").read_text())
    (saved / "state.json").write_text(json.dumps({**state, "_data_files": [{"filename": name}]}))
    with pytest.raises(SourceError, match="which is not in its folder"):
        load(behind_a_url(saved))


def test_a_chain_of_filesystems_is_followed(saved: Path, tmp_path: Path) -> None:
    with ZipFile(tmp_path / "saved.zip", "w") as archive:
        for file in saved.iterdir():
            archive.write(file, f"inside/{file.name}")
    assert load(f"zip://inside::file://{tmp_path}/saved.zip") == make_rows(2500)
