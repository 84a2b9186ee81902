"""What prevents the start of workers is one clear error, with every way to start them, and never a hang."""

import copy
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samsum_stream import ConfigError
from samsum_stream.loader.processes.starting import started
from samsum_stream.loader.worker import WorkerBatches
from tests.jobs.killing import ROOT
from tests.streams import make_rows, make_stream, workers_that_end_at_once

COPYING = pytest.mark.parametrize("method", ["spawn", "forkserver"])
"""The ways to start workers that send them copies."""

REMEDY = r"; define classes .* at the top level of a module .*, or start the workers with .*=\"fork\"\) on Linux"


@pytest.fixture(autouse=True)
def quick_workers() -> Iterator[None]:
    with workers_that_end_at_once():
        yield


class RowWithLock(dict[str, Any]):
    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__(row)
        self.lock = threading.Lock()


def rows_of_a_local_class() -> list[Any]:
    class Row(dict[str, Any]):
        pass

    return list(map(Row, make_rows(60)))


@COPYING
@pytest.mark.parametrize("epochs", [1, None])
@pytest.mark.parametrize(
    ("rows", "value", "reason"),
    [
        (rows_of_a_local_class(), r"source\._rows \(list\)", "local object"),
        (list(map(RowWithLock, make_rows(60))), r"source\._rows \(list\)", "cannot pickle '_thread.lock' object"),
        (lambda: iter(make_rows(60)), r"source\._rows \(function\)", "Can't pickle .*lambda"),
    ],
)
def test_rows_that_do_not_pickle_are_named_before_a_worker_starts(
    rows: Any, value: str, reason: str, epochs: int | None, method: str
) -> None:
    loader = make_stream(rows, epochs=epochs, lanes=2).loader(num_workers=2, multiprocessing_context=method)
    with pytest.raises(ConfigError, match=rf"^loader: .* by pickle, and .*{value} .*{reason}.*{REMEDY}"):
        next(iter(loader))
    assert not any(thread.name == "samsum-stream-send" for thread in threading.enumerate())


@COPYING
@pytest.mark.filterwarnings("ignore:Got pickle error:UserWarning")
def test_a_worker_init_fn_that_does_not_pickle_is_named(method: str) -> None:
    stream = make_stream(epochs=None, lanes=2)
    loader = stream.loader(num_workers=2, multiprocessing_context=method, worker_init_fn=lambda _: None)
    with pytest.raises(ConfigError, match=rf"^loader: .* by pickle, and worker_init_fn cannot be pickled .*{REMEDY}"):
        next(iter(loader))


def test_another_error_of_the_start_is_raised_as_it_is() -> None:
    def start() -> None:
        raise TypeError("an error of another library")

    with pytest.raises(TypeError, match="an error of another library"):
        started(start)


def test_rows_that_do_not_pickle_are_read_by_forked_workers() -> None:
    loader = make_stream(rows_of_a_local_class(), lanes=2).loader(num_workers=2, multiprocessing_context="fork")
    assert len(list(loader)) == len(loader)


def unloadable() -> None:
    raise LookupError("this value exists in one process only")


class Unloadable(dict[str, Any]):
    def __reduce__(self) -> Any:
        return unloadable, ()


@COPYING
@pytest.mark.slow
def test_a_worker_that_cannot_load_the_rows_reports_the_reason(method: str) -> None:
    loader = make_stream(list(map(Unloadable, make_rows(60))), lanes=2).loader(
        num_workers=2, multiprocessing_context=method
    )
    with pytest.raises(ConfigError, match=rf"(?s)a worker cannot load them \(LookupError: this value .*{REMEDY}"):
        next(iter(loader))


def test_a_copy_of_a_dataset_in_this_process_is_a_dataset() -> None:
    loader = make_stream(epochs=None, lanes=2).loader(num_workers=2, prefetch_factor=4)
    for dataset in (
        copy.copy(loader.dataset),
        copy.deepcopy(loader.dataset),
        pickle.loads(pickle.dumps(loader.dataset)),
    ):
        assert isinstance(dataset, WorkerBatches)
        assert dataset.batches_per_transfer == 2


# ---------------------------------------------------------------------------------------------- scripts of users

NO_GUARD = """
import sys
from tests.streams import make_rows, make_stream

print("imported", flush=True)
method, epochs = sys.argv[1], eval(sys.argv[2])
stream = make_stream(make_rows(600) * 20, epochs=epochs, lanes=2)  # more bytes than a pipe holds
for batch in stream.loader(num_workers=2, multiprocessing_context=method):
    break
"""


def run(script: str, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a script; a hang is an error."""
    file = folder / "script.py"
    file.write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(file), *arguments], capture_output=True, text=True, timeout=60, env=environment
    )


@pytest.mark.parametrize(
    ("method", "epochs"),
    [
        ("spawn", "None"),
        pytest.param("spawn", "1", marks=pytest.mark.slow),
        pytest.param("forkserver", "None", marks=pytest.mark.slow),
        pytest.param("forkserver", "1", marks=pytest.mark.slow),
    ],
)
def test_a_script_without_a_main_guard_ends_with_one_error_that_names_the_guard(
    method: str, epochs: str, tmp_path: Path
) -> None:
    done = run(NO_GUARD, tmp_path, method, epochs)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert 'put the code that starts workers under `if __name__ == "__main__":`, or' in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("remedy", ['if __name__ == "__main__":', "fork"])
def test_the_remedies_for_a_script_without_a_main_guard_work(remedy: str, tmp_path: Path) -> None:
    method, script = ("fork", NO_GUARD) if remedy == "fork" else ("spawn", with_guard(NO_GUARD))
    done = run(script, tmp_path, method, "None")
    assert done.returncode == 0, done.stderr


def with_guard(script: str) -> str:
    head, loop = script.split("for batch", 1)
    return head + 'if __name__ == "__main__":\n    for batch' + loop.replace("\n    break", "\n        break")


BROKEN_ON_IMPORT = NO_GUARD.replace('print("imported"', 'assert __name__ == "__main__"; print("imported"')


@pytest.mark.slow
@COPYING
def test_a_worker_that_dies_before_it_starts_is_a_clear_error(method: str, tmp_path: Path) -> None:
    done = run(with_guard(BROKEN_ON_IMPORT), tmp_path, method, "None")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert re.search(r"WorkerError: worker [01] of 2 \(pid \d+\) exited with status 1: ", last)
    assert last.endswith("one that exited often printed the reason")
