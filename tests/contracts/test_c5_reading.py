"""C5: no row is tokenized by two ranks; messages give the possible numbers of ranks and workers."""

import logging
import os
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing
from torch.distributed.device_mesh import init_device_mesh

from samsum_stream import RowError, SFTStream, TopologyError
from samsum_stream.pipeline.encoder import EncodedRows, RowEncoder
from samsum_stream.values.rows import Rows
from tests.resuming import LANES, awkward_rows, stream_of
from tests.streams import make_rows, make_stream, workers_that_end_at_once

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


class LoggingEncoder(RowEncoder):
    """Logs the rows that it encodes, one file per process."""

    folder: Path

    def encode(self, rows: Rows, *, epoch: int) -> EncodedRows:
        with (self.folder / f"{os.getpid()}.log").open("a") as log:
            log.writelines(f"{epoch} {row}\n" for row in rows.rows.tolist())
        return super().encode(rows, epoch=epoch)


def logged(stream: SFTStream, folder: Path) -> SFTStream:
    stream.pipeline.encoder.__class__ = LoggingEncoder
    stream.pipeline.encoder.folder = folder  # type: ignore[attr-defined]
    return stream


def encoded(folder: Path) -> Counter[tuple[int, ...]]:
    lines = [line for log in folder.glob("*.log") for line in log.read_text().splitlines()]
    return Counter(tuple(map(int, line.split())) for line in lines)


@pytest.mark.parametrize("kind", ["list", "generator"])
def test_two_ranks_with_two_workers_tokenize_each_row_once(tmp_path: Path, kind: str) -> None:
    rows = awkward_rows(8 * LANES)
    stream = logged(stream_of(rows=rows if kind == "list" else lambda: iter(rows), epochs=None), tmp_path)
    with workers_that_end_at_once():
        for rank in range(2):
            for _ in islice(stream.loader(rank=rank, world_size=2, num_workers=2), 4 * LANES):
                pass
    counts = encoded(tmp_path)
    assert len(list(tmp_path.glob("*.log"))) == 4
    assert set(counts.values()) == {1}
    assert {row for epoch, row in counts if epoch == 0} == set(range(len(rows)))


def test_rows_that_workers_read_only_to_pass_over_are_counted() -> None:
    rows = awkward_rows(8 * LANES)
    stream = stream_of(rows=lambda: iter(rows))
    with workers_that_end_at_once():
        list(stream.loader(num_workers=3))
    assert stream.stats.rows_passed_over == 2 * len(rows)
    indexed = stream_of(rows=rows)
    list(indexed.loader())
    assert indexed.stats.rows_passed_over == 0


def count_as_a_rank(rank: int, folder: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    stream = logged(stream_of(), folder)
    (folder / f"length-{rank}").write_text(str(len(stream.loader())))
    bad = [*make_rows(2000), {"input": "20", "response": 5}]
    try:
        len(make_stream(bad, lanes=2).loader())
    except RowError as error:
        (folder / f"error-{rank}").write_text(str(error))
    torch.distributed.destroy_process_group()


def test_ranks_share_the_counting_and_every_rank_raises_the_error_of_a_bad_row(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(count_as_a_rank, (tmp_path,), nprocs=2)
    lengths = {int((tmp_path / f"length-{rank}").read_text()) for rank in range(2)}
    assert lengths == {len(stream_of().loader(rank=0, world_size=2))}
    assert set(encoded(tmp_path).values()) == {1}
    for rank in range(2):
        assert "rows:2000 (epoch 0): field 'response' must be a str" in (tmp_path / f"error-{rank}").read_text()


def test_an_uneven_number_of_workers_is_lowered_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        loader = stream_of(lanes=12).loader(num_workers=5, rank=1, world_size=2)
    assert loader.num_workers == 3
    assert "2 ranks with 5 workers each cannot share 12 lanes evenly; 3 of each rank will read" in caplog.text


def test_an_uneven_number_of_ranks_is_an_error_with_the_possible_numbers() -> None:
    with pytest.raises(
        TopologyError, match=r"12 lanes cannot be shared evenly by 5 ranks; use 1, 2, 3, 4, 6, 12 ranks"
    ):
        stream_of(lanes=12).loader(rank=0, world_size=5)


@pytest.mark.parametrize(
    ("rank", "world_size"), [(0, None), (None, 2), (2, 2), (-1, 2), (0, 0), (True, 2), (0.0, 2), ("0", 2)]
)
def test_an_invalid_rank_is_an_error(rank: Any, world_size: Any) -> None:
    with pytest.raises(TopologyError, match="rank"):
        stream_of().loader(rank=rank, world_size=world_size)


def ranks_in_meshes(rank: int, folder: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=4)
    results = []
    for names in (("dp", "tp"), ("tp", "dp"), ("dp_replicate", "dp_shard"), ("pp", "tp"), ("dp", "what")):
        try:
            ranks = stream_of().loader(device_mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=names)).ranks
            results.append(f"{ranks.rank}/{ranks.world_size}")
        except TopologyError as error:
            results.append(str(error).split(";")[0])
    results.append("{}/{}".format(*stream_of().loader().ranks))
    os.environ["PARALLELISM_CONFIG_TP_SIZE"] = "2"
    try:
        stream_of().loader()
    except TopologyError as error:
        results.append(str(error).split(":")[0])
    (folder / f"{rank}").write_text("; ".join(results))
    torch.distributed.destroy_process_group()


def test_a_mesh_gives_the_data_parallel_rank_and_no_mesh_the_global_rank(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(ranks_in_meshes, (tmp_path,), nprocs=4)
    unknown, sharing = "device_mesh has dimension 'what'", "PARALLELISM_CONFIG_TP_SIZE=2"
    for rank in range(4):
        slow, fast = divmod(rank, 2)
        expected = [f"{slow}/2", f"{fast}/2", f"{rank}/4", "0/1", unknown, f"{rank}/4", sharing]
        assert (tmp_path / str(rank)).read_text() == "; ".join(expected)
