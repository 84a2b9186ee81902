"""Ranks: each rank gets its share, and a setup in which ranks would read the same rows is an error."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.distributed
from accelerate import ParallelismConfig
from accelerate.state import AcceleratorState
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.utils.data import DataLoader

from samsum_stream import TopologyError
from samsum_stream.loader.processes.meshes import DATA_PARALLEL, MODEL_PARALLEL
from samsum_stream.loader.processes.ranks import Ranks, find_ranks, require_one_process
from tests.fake_group import group
from tests.streams import make_rows, make_stream, rows_of_batches, workers_that_end_at_once

RULE = (
    r"the job has 2 processes .*each of them would read every row from the stream itself, in a plain DataLoader or as "
    r"the train_dataset of a Trainer; call stream.attach\(trainer\), or iterate over stream.loader\(\)"
)


@pytest.fixture(autouse=True)
def quick_workers() -> Iterator[None]:
    with workers_that_end_at_once():
        yield


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables of a launcher that started the tests."""
    for name in [name for name in os.environ if name in ("RANK", "WORLD_SIZE") or name.startswith("PARALLELISM_")]:
        monkeypatch.delenv(name)


def start_job(monkeypatch: pytest.MonkeyPatch, *, rank: int = 0, world_size: int = 2) -> None:
    """Set the environment variables that torchrun sets in each process."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(world_size))


# ------------------------------------------------------------------------------------------------ the stream


@pytest.mark.parametrize("size", [None, "1"])
def test_one_process_is_fine(size: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if size is not None:
        monkeypatch.setenv("WORLD_SIZE", size)
    require_one_process()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_iterating_the_stream_itself_in_a_job_of_two_is_an_error(
    num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = make_stream()
    start_job(monkeypatch)
    with pytest.raises(TopologyError, match=RULE):
        next(iter(stream))
    plain = DataLoader(stream, batch_size=2, collate_fn=stream.collator, num_workers=num_workers)
    with pytest.raises(TopologyError, match=RULE):
        next(iter(plain))


def test_a_stream_is_not_sent_to_a_spawned_worker_that_cannot_see_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with group(1, 2):
        stream = make_stream()
        context = multiprocessing.get_context("spawn")
        plain = DataLoader(stream, collate_fn=stream.collator, num_workers=1, multiprocessing_context=context)
        with pytest.raises(TopologyError, match=RULE):
            next(iter(plain))


def test_an_action_that_reads_no_rows_works_in_any_job(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = make_stream()
    start_job(monkeypatch)
    assert stream.inference_ids({"input": "20"}) == [1, 20]


@pytest.mark.parametrize(("lanes", "num_workers"), [(4, 3), (2, 3)])
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_workers_of_a_plain_dataloader_that_do_not_fit_the_lanes_are_an_error(lanes: int, num_workers: int) -> None:
    stream = make_stream(lanes=lanes)
    plain = DataLoader(stream, batch_size=2, collate_fn=stream.collator, num_workers=num_workers)
    with pytest.raises(
        TopologyError, match=f"{lanes} lanes cannot be shared evenly by {num_workers} workers; use 1, 2"
    ):
        next(iter(plain))


# ------------------------------------------------------------------------------------------------------ the loader


def test_a_launcher_with_two_processes_gives_each_its_share_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [rows_of_batches([batch]) for batch in make_stream(lanes=4).loader()]
    for rank in (0, 1):
        start_job(monkeypatch, rank=rank)
        loader = make_stream(lanes=4).loader()
        assert loader.ranks == Ranks(rank, 2)
        assert [rows_of_batches([batch]) for batch in loader] == expected[rank::2]


def test_automatic_lanes_fit_the_ranks_and_their_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    start_job(monkeypatch, rank=4, world_size=5)
    loader = make_stream().loader(num_workers=2)
    assert loader.num_workers == 2
    assert loader.state_dict()["fingerprint"]["lanes"] == 10


def test_a_loader_made_before_the_job_starts_is_an_error_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = make_stream().loader()
    start_job(monkeypatch)
    with pytest.raises(TopologyError, match="built as rank 0 of 1, and this process is now rank 0 of 2"):
        next(iter(loader))


def read_in_a_group(rank: int, folder: str, answers: Any) -> None:
    """Send the batches and the error of a member of a group of two, without any environment variable."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    try:
        stream = make_stream(make_rows(60), lanes=4)
        loader = stream.loader()
        batches = [rows_of_batches([batch]) for batch in loader]
        message = problem(lambda: next(iter(stream)))
        answers.put((rank, len(loader), batches, message))
    finally:
        torch.distributed.destroy_process_group()


def problem(read: Callable[[], Any]) -> str:
    try:
        read()
    except TopologyError as error:
        return str(error)
    return ""


def test_two_processes_of_a_group_share_the_rows_and_neither_may_read_all(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    members = [context.Process(target=read_in_a_group, args=(rank, str(tmp_path), answers)) for rank in (0, 1)]
    for member in members:
        member.start()
    (_, *first), (_, *second) = sorted(answers.get(timeout=60) for _ in members)
    for member in members:
        member.join(60)
        assert member.exitcode == 0
    expected = [rows_of_batches([batch]) for batch in make_stream(make_rows(60), lanes=4).loader()]
    assert (first[1], second[1]) == (expected[0::2], expected[1::2])
    assert Counter(row for rows in first[1] + second[1] for row in rows) == Counter(range(60))
    assert first[0] == second[0] == len(expected) // 2
    for message in (first[2], second[2]):
        assert "the job has 2 processes" in message


# ------------------------------------------------------------------------------------------------------- find_ranks


def test_without_a_job_there_is_one_rank() -> None:
    assert find_ranks() == Ranks(0, 1)


def test_the_rank_comes_from_the_launcher_or_from_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    start_job(monkeypatch, rank=2, world_size=4)
    assert find_ranks() == Ranks(2, 4)
    with group(5, 8):
        assert find_ranks() == Ranks(5, 8)


def test_arguments_override_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    start_job(monkeypatch, rank=2, world_size=4)
    monkeypatch.setenv("PARALLELISM_CONFIG_TP_SIZE", "2")
    assert find_ranks(rank=1, world_size=2) == Ranks(1, 2)


@pytest.mark.parametrize("arguments", [{"rank": 0}, {"world_size": 2}])
def test_a_rank_without_a_world_size_is_an_error(arguments: dict[str, int]) -> None:
    with pytest.raises(TopologyError, match="rank and world_size go together, .*, got rank=.*; pass both"):
        find_ranks(**arguments)


@pytest.mark.parametrize(("rank", "world_size"), [(2, 2), (-1, 2), (0, 0), (0.0, 2), (True, 2), (0, "2")])
def test_a_rank_outside_its_world_is_an_error(rank: Any, world_size: Any) -> None:
    with pytest.raises(TopologyError, match="rank must be a whole number from 0 to .*, got rank=.*; pass both"):
        find_ranks(rank=rank, world_size=world_size)


@pytest.mark.parametrize("name", ["TP", "CP", "SP", "PP"])
def test_accelerate_with_ranks_that_share_rows_is_an_error_that_says_what_to_pass(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_job(monkeypatch, rank=3, world_size=8)
    monkeypatch.setenv(f"PARALLELISM_CONFIG_{name}_SIZE", "1")
    assert find_ranks() == Ranks(3, 8)
    monkeypatch.setenv(f"PARALLELISM_CONFIG_{name}_SIZE", "2")
    rule = f"{name}_SIZE=2: ranks share rows, so the global rank 3 of 8 .* pass device_mesh=.*, or rank= and world"
    with pytest.raises(TopologyError, match=rule):
        find_ranks()


def test_an_accelerator_whose_ranks_share_rows_is_an_error_without_its_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    start_job(monkeypatch, rank=3, world_size=4)
    for config, is_refused in ((ParallelismConfig(dp_shard_size=4), False), (ParallelismConfig(cp_size=4), True)):
        monkeypatch.setitem(AcceleratorState._shared_state, "parallelism_config", config)
        if is_refused:
            with pytest.raises(TopologyError, match=r"cp_size=4 .* pass device_mesh=accelerator.torch_device_mesh, or"):
                make_stream(lanes=4).loader()
        else:
            assert find_ranks() == Ranks(3, 4)


def ranks_in_mesh(sizes: tuple[int, ...], names: tuple[str, ...] | None) -> list[Ranks]:
    """The result of `find_ranks` in each process of a mesh."""
    ranks = []
    world_size = int(torch.tensor(sizes).prod())
    for rank in range(world_size):
        with group(rank, world_size):
            ranks.append(find_ranks(device_mesh=init_device_mesh("cpu", sizes, mesh_dim_names=names)))
    return ranks


@pytest.mark.parametrize("name", DATA_PARALLEL)
def test_ranks_along_a_dimension_of_data_parallelism_read_different_rows(name: str) -> None:
    assert ranks_in_mesh((4,), (name,)) == [Ranks(rank, 4) for rank in range(4)]


@pytest.mark.parametrize("name", MODEL_PARALLEL)
def test_ranks_along_a_dimension_of_model_parallelism_read_the_same_rows(name: str) -> None:
    assert ranks_in_mesh((4,), (name,)) == [Ranks(0, 1)] * 4
    assert ranks_in_mesh((2, 2), ("dp", name)) == [Ranks(0, 2), Ranks(0, 2), Ranks(1, 2), Ranks(1, 2)]
    assert ranks_in_mesh((2, 2), (name, "dp")) == [Ranks(0, 2), Ranks(1, 2), Ranks(0, 2), Ranks(1, 2)]


def test_several_dimensions_of_data_parallelism_are_combined() -> None:
    ranks = ranks_in_mesh((2, 3, 2), ("dp_replicate", "dp_shard", "tp"))
    assert ranks == [Ranks(rank // 2, 6) for rank in range(12)]


def test_a_mesh_with_one_unnamed_dimension_is_data_parallel() -> None:
    assert ranks_in_mesh((3,), None) == [Ranks(rank, 3) for rank in range(3)]


def test_one_dimension_of_a_mesh_can_be_passed() -> None:
    with group(5, 8):
        mesh = init_device_mesh("cpu", (4, 2), mesh_dim_names=("dp", "tp"))
        assert find_ranks(device_mesh=mesh["dp"]) == Ranks(2, 4)
        assert find_ranks(device_mesh=mesh["tp"]) == Ranks(0, 1)


@pytest.mark.parametrize(("names", "rule"), [(("mine", "tp"), "dimension 'mine'"), (None, "dimensions without names")])
def test_a_mesh_with_unknown_names_is_an_error_that_lists_the_known_names(
    names: tuple[str, ...] | None, rule: str
) -> None:
    with pytest.raises(TopologyError, match=f"device_mesh has {rule}; the known names are batch, data, .*; pass mesh"):
        ranks_in_mesh((2, 2), names)


def test_a_process_outside_the_mesh_is_an_error() -> None:
    with group(3, 4):
        mesh = DeviceMesh("cpu", [0, 1], mesh_dim_names=("dp",))
        with pytest.raises(TopologyError, match="not part of the device_mesh; pass rank and world_size"):
            find_ranks(device_mesh=mesh)


def test_a_mesh_together_with_a_rank_is_an_error() -> None:
    with group(1, 2), pytest.raises(TopologyError, match="go together, and without device_mesh, .* and a mesh; pass"):
        find_ranks(rank=0, world_size=2, device_mesh=init_device_mesh("cpu", (2,), mesh_dim_names=("dp",)))


def test_a_loader_takes_its_ranks_from_the_mesh_of_the_job() -> None:
    with group(5, 8):
        mesh = init_device_mesh("cpu", (4, 2), mesh_dim_names=("dp", "tp"))
        assert make_stream(epochs=None, lanes=4).loader(device_mesh=mesh).ranks == Ranks(2, 4)
