"""Systems that lack signals, forks or folders that can be opened: the tests remove these features."""

import configparser
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch.utils.data

from samsum_stream import WorkerError
from tests.jobs.killing import ROOT
from tests.resuming import equal
from tests.streams import make_rows, make_stream, workers_that_end_at_once

SCRIPT = """
import os
import signal
import sys

import datasets  # other packages know their system
import psutil
import torch.utils.data
import transformers

torch.utils.data._utils.signal_handling.IS_WINDOWS = True  # torch then uses no SIGCHLD
del signal.SIGCHLD, signal.SIGKILL, os.fork, os.register_at_fork, os.sched_getaffinity
sys.modules["resource"] = sys.modules["fcntl"] = None  # an import raises
open_file = os.open


def open_no_folder(path, *arguments, **kwargs):
    if os.path.isdir(path):
        raise PermissionError(f"a folder cannot be opened: {path}")
    return open_file(path, *arguments, **kwargs)


os.open = open_no_folder

from tests.streams import make_rows, make_stream

if __name__ == "__main__":
    num_workers, folder = int(sys.argv[1]), sys.argv[2]
    context = "spawn" if num_workers else None
    loader = make_stream(make_rows(200), lanes=2).loader(
        num_workers=num_workers, prefetch_factor=2, multiprocessing_context=context
    )
    batches = iter(loader)
    first = [next(batches) for _ in range(3)]
    loader.save(folder)
    resumed = make_stream(make_rows(200), lanes=2).loader()
    resumed.load(folder)
    print(len(first) + len(list(resumed)) == len(loader))
"""


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_system_without_forks_signals_and_open_folders_reads_and_saves(num_workers: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(num_workers), str(tmp_path / "states")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.fixture
def no_sigchld(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process in which neither torch nor the loader hears of the death of a worker by a signal."""
    monkeypatch.setattr(torch.utils.data._utils.signal_handling, "_set_SIGCHLD_handler", lambda: None)
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with workers_that_end_at_once(), monkeypatch.context() as context:
        context.delattr(signal, "SIGCHLD")
        yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("no_sigchld")
def test_workers_produce_the_same_batches_without_sigchld() -> None:
    expected, loader = make_stream(lanes=2).loader(), make_stream(lanes=2).loader(num_workers=2)
    assert all(equal(batch, other) for batch, other in zip(loader, expected, strict=True))


@pytest.mark.usefixtures("no_sigchld")
def test_a_death_of_a_worker_is_noticed_without_sigchld(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samsum_stream.loader.batch_loader.POLL", 0.1)
    loader = make_stream(make_rows(600), epochs=None, lanes=2).loader(num_workers=2)
    batches = iter(loader)
    first = list(islice(batches, 3))
    active_children()[0].kill()
    with pytest.raises(WorkerError, match="was killed by signal 9"):
        first.extend(batches)
    assert all(map(equal, [*first, *islice(loader, 5)], make_stream(make_rows(600), epochs=None, lanes=2).loader()))


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "packed", "kwargs": {"attention": "varlen"}},
        {"method": "packed", "kwargs": {"attention": "position_ids"}},
        {"method": "padded"},
        {"method": "padding_free"},
    ],
)
def test_no_batch_has_a_tensor_of_float64_which_mps_lacks(changes: dict[str, Any]) -> None:
    for batch in make_stream(collator_config=changes).loader():
        tensors = [value for value in batch.values() if torch.is_tensor(value)]
        assert tensors
        assert all(tensor.dtype != torch.float64 for tensor in tensors)


def test_the_systems_of_the_package_are_named_alike_in_its_metadata_and_in_the_documentation() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    classifiers = metadata["metadata"]["classifiers"].split("\n")
    systems = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("Operating System")]
    assert systems == ["MacOS", "Linux"]
    for page in ("README.md", "docs/training.md"):
        assert "Linux and macOS" in " ".join((ROOT / page).read_text(encoding="utf-8").split())
