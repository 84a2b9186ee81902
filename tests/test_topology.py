"""One process only: in a job of several, every way to read is an error that names the number."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.distributed
from torch.utils.data import DataLoader

from samsum_stream import TopologyError
from samsum_stream.topology import require_one_process
from tests.streams import make_rows, make_stream, workers_that_end_at_once

RULE = r"this version feeds one process, and the job has 2 .*each of them would read every row; run a single process"


@pytest.fixture(autouse=True)
def quick_workers() -> Iterator[None]:
    with workers_that_end_at_once():
        yield


@pytest.mark.parametrize("size", [None, "1"])
def test_one_process_is_fine(size: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if size is not None:
        monkeypatch.setenv("WORLD_SIZE", size)
    require_one_process()


def test_a_launcher_with_two_processes_is_an_error_for_every_way_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = make_stream()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TopologyError, match=RULE):
        next(iter(stream))
    with pytest.raises(TopologyError, match=RULE):
        stream.loader()
    for num_workers in (0, 1):
        plain = DataLoader(stream, batch_size=2, collate_fn=stream.collator, num_workers=num_workers)
        with pytest.raises(TopologyError, match=RULE):
            next(iter(plain))


def test_a_loader_made_before_the_job_began_is_an_error_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = make_stream().loader()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TopologyError, match=RULE):
        next(iter(loader))


def test_what_reads_no_rows_works_in_any_job(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = make_stream()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert stream.inference_ids({"input": "20"}) == [1, 20]


def problems_in_a_group(rank: int, folder: str, answers: Any) -> None:
    """What a member of a group of two is told, without any environment variable."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    try:
        stream = make_stream(make_rows(20))
        for read in (lambda: next(iter(stream)), stream.loader):
            try:
                read()
                answers.put("read")
            except TopologyError as error:
                answers.put(str(error))
    finally:
        torch.distributed.destroy_process_group()


def test_a_group_of_two_processes_is_an_error_in_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    members = [context.Process(target=problems_in_a_group, args=(rank, str(tmp_path), answers)) for rank in (0, 1)]
    for member in members:
        member.start()
    told = [answers.get(timeout=60) for _ in range(4)]
    for member in members:
        member.join(60)
        assert member.exitcode == 0
    for text in told:
        assert "the job has 2" in text
        assert "run a single process" in text
