"""Restores a loader at every step, for every source, packing method and layout: nothing may change.

`assert_resumes_exactly` does this. The other functions make small, awkward streams: with rows that are dropped or
cut, lanes with fewer packs than batches, and epochs that end in the middle of a window.
"""

import gzip
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from webdataset import TarWriter

from samsum_stream import SFTStream
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.pipeline.pipeline import ProducedBatch
from tests.streams import make_stream, word, write_lines

LANES = 24


def awkward_rows(count: int) -> list[dict[str, Any]]:
    """Rows of 4 to 15 tokens; some rows are longer than a pack, and some spell a special token."""
    rows = []
    for index in range(count):
        length = 60 if index % 17 == 5 else index * index % 11 + 1
        text = f"{word(index % 600)} </s>" if index % 19 == 3 else str(word(index % 600))
        rows.append({"input": text, "response": " ".join([str(word(index % 600))] * length)})
    return rows


def make_source(kind: str, rows: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """The arguments of `make_stream` for `rows` from a kind of source."""
    if kind == "list":
        return {"rows": rows}
    if kind == "dataset":
        return {"rows": datasets.Dataset.from_list(rows)}
    if kind == "sequence from a callable":
        return {"rows": partial(list, rows)}
    if kind == "generator from a callable":
        return {"rows": partial(iter, rows)}
    parts = [rows[: len(rows) // 3], rows[len(rows) // 3 :]]
    if kind == "mixture":
        return {"source_config": _mixture(rows, folder)}
    if kind == "tars":
        return {"source_config": {"method": "webdataset", "kwargs": {"urls": _tars(rows, folder)}}}
    if kind == "parquet":
        paths = [folder / f"part-{number}.parquet" for number in range(2)]
        for part, path in zip(parts, paths, strict=True):
            pq.write_table(pa.Table.from_pylist(part), path, row_group_size=25)
        return {"source_config": {"method": "parquet", "kwargs": {"path": list(map(str, paths))}}}
    is_gzip = kind == "gzip jsonl"
    paths = [folder / f"part-{number}.jsonl{'.gz' if is_gzip else ''}" for number in range(2)]
    for part, path in zip(parts, paths, strict=True):
        if not path.exists():
            text = "".join(json.dumps(row) + "\n" for row in part).encode()
            path.write_bytes(gzip.compress(text) if is_gzip else text)
    if kind == "streaming":
        kwargs = {"path": "json", "data_files": list(map(str, paths)), "split": "train", "streaming": True}
        return {"source_config": {"method": "load_dataset", "kwargs": kwargs}}
    return {"source_config": {"method": "jsonl", "kwargs": {"path": list(map(str, paths))}}}


def _mixture(rows: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """A mixture by tokens of Parquet (read in pieces) and of a mixture by rows: gzip (one pass), a table (by index)."""
    sources = {}
    for kind, start, end in (("parquet", 0, 72), ("gzip jsonl", 24, 96), ("load_dataset", 48, 120)):
        subfolder = folder / kind.split()[0]
        subfolder.mkdir(exist_ok=True)
        if kind == "load_dataset":
            path = write_lines(subfolder / "rows.jsonl", rows[start:end])
            cache = {"cache_dir": str(folder / "cache")}
            kwargs = {"path": "json", "data_files": str(path), "split": "train", **cache}
            sources[kind] = {"method": kind, "kwargs": kwargs}
        else:
            sources[kind] = make_source(kind, rows[start:end], subfolder)["source_config"]
    parquet, lines, table = sources.values()
    inner = {"sources": {"lines": {**lines, "weight": 2}, "table": table}, "stopping_strategy": "all_exhausted"}
    outer = {"parquet": {**parquet, "weight": 0.5}, "inner": {"method": "mixture", "kwargs": inner, "weight": 0.5}}
    kwargs = {"sources": outer, "weight_by": "tokens", "stopping_strategy": "first_exhausted"}
    return {"method": "mixture", "kwargs": kwargs}


def _tars(rows: list[dict[str, Any]], folder: Path) -> list[str]:
    """Fewer shards than lanes, so that lanes share a shard."""
    paths = [folder / f"part-{number}.tar" for number in range(2)]
    for path, part in zip(paths, (rows[:50], rows[50:]), strict=True):
        with TarWriter(str(path)) as writer:
            for number, row in enumerate(part):
                writer.write({"__key__": str(number), "json": row})
    return list(map(str, paths))


SOURCES = (
    "list",
    "dataset",
    "jsonl",
    "gzip jsonl",
    "parquet",
    "tars",
    "sequence from a callable",
    "generator from a callable",
    "streaming",
    "mixture",
)
PACKINGS = ("best_fit", "first_fit", "greedy", "none")
LAYOUTS = ("packed", "padding_free", "padded")
WORKERS = (0, 1, 2, 3)
EPOCHS = (None, 1)


def is_possible(case: tuple[Any, ...]) -> bool:
    _, packing, layout, *_ = case
    return layout != "padded" or packing == "none"


def all_cases() -> list[tuple[Any, ...]]:
    return list(filter(is_possible, itertools.product(SOURCES, PACKINGS, LAYOUTS, WORKERS, EPOCHS)))


def pairwise_cases() -> list[tuple[Any, ...]]:
    """Cases that cover every possible pair of values, and two cases with a mixture.

    The next case is always the one with the most new pairs. A mixture takes three times as long; test_mixture.py has
    more cases of mixtures.
    """
    cases = [case for case in all_cases() if case[0] != "mixture"]
    pairs = {case: set(itertools.combinations(enumerate(case), 2)) for case in cases}
    missing = set().union(*pairs.values())
    chosen = []
    while missing:
        best = max(cases, key=lambda case: len(pairs[case] & missing))
        chosen.append(best)
        missing -= pairs[best]
    return [*chosen, ("mixture", "best_fit", "packed", 2, None), ("mixture", "greedy", "padding_free", 0, 1)]


def fast_cases() -> list[tuple[Any, ...]]:
    """Cases of `pairwise_cases` that cover every value."""
    cases = pairwise_cases()
    missing = set().union(*map(enumerate, cases))
    chosen = []
    while missing:
        best = max(cases, key=lambda case: len(missing.intersection(enumerate(case))))
        chosen.append(best)
        missing -= {*enumerate(best)}
    return chosen


def case_params(*, fast: Sequence[tuple[Any, ...]]) -> list[Any]:
    """All of `pairwise_cases` as parameters of a test; those that are not `fast` are marked as slow."""
    return [
        pytest.param(case, id=", ".join(map(str, case)), marks=() if case in fast else pytest.mark.slow)
        for case in pairwise_cases()
    ]


def make_case(
    case: tuple[Any, ...],
    folder: Path,
    *,
    batch_size: int = 3,
    lanes: int = LANES,
    adapt: Callable[[SFTStream], SFTStream] = lambda stream: stream,
) -> Callable[[], StreamLoader]:
    """A function that makes a loader of a case; the first loader has a separate stream. `adapt` changes a stream."""
    source, packing, layout, num_workers, epochs = case
    rows = awkward_rows(5 * LANES)
    first, second = (
        adapt(
            make_stream(
                **make_source(source, rows, folder),
                method=packing,
                max_length=32,
                buffer_size=5,
                batch_size=batch_size,
                lanes=lanes,
                epochs=epochs,
                collator_config={"method": layout},
                prompt_config={"kwargs": {"response_template": "say {text}"}},
            )
        )
        for _ in range(2)
    )
    streams = itertools.chain([first], itertools.repeat(second))
    return lambda: next(streams).loader(num_workers=num_workers)


def steps_of_two_epochs(loader: StreamLoader) -> int:
    """The number of batches until every lane has finished its second epoch."""
    for step, _ in enumerate(take(loader, 10 * LANES), start=1):
        if all(lane["epoch"] >= 2 for lane in loader.state_dict()["lanes"].values()):
            return step
    raise AssertionError("two epochs are longer than ten batches of each lane")


def assert_resumes_exactly(make_loader: Callable[[], StreamLoader], *, num_steps: int) -> None:
    """Restore a new loader at each of `num_steps` steps, and compare everything that it yields after the step.

    Batches, their provenance, the stats, and the last state must be equal bit for bit. The state is stored as JSON.
    """
    whole = make_loader()
    states, batches = [json.dumps(whole.state_dict())], []
    for batch in take(whole, num_steps):
        batches.append(batch)
        states.append(json.dumps(whole.state_dict()))
    for step in range(num_steps):
        resumed = make_loader()
        resumed.load_state_dict(json.loads(states[step]))
        for number, batch in enumerate(take(resumed, num_steps - step), start=step):
            assert equal(batch, batches[number]), f"restored at step {step}: step {number} differs"
        assert json.dumps(resumed.state_dict()) == states[-1], f"restored at step {step}: the last state differs"


def take(loader: StreamLoader, num_batches: int) -> Iterator[dict[str, Any]]:
    """Batches with their provenance; at the end of a run of epochs, the loader is iterated over again."""
    missing = num_batches
    while missing:
        batches = iter(loader)
        for batch in itertools.islice(batches, missing):
            missing -= 1
            yield {**batch, "info": str(loader.last_batch_info)}
        batches.close()  # type: ignore[attr-defined]


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)


def _equal(one: Any, other: Any) -> bool:
    if torch.is_tensor(one):
        return one.dtype == other.dtype and torch.equal(one, other)
    return bool(np.array_equal(one, other))


class InProcessLoader(StreamLoader):
    """A loader with workers that take turns in this process, in the order of the workers of a DataLoader."""

    def _transfers(self) -> Iterator[list[ProducedBatch]]:
        num_workers = self.num_workers or 1
        workers = [self._worker_batches.of_worker(worker, num_workers) for worker in range(num_workers)]
        while workers:
            for worker in list(workers):
                transfer = next(worker, None)
                if transfer is None:
                    workers.remove(worker)
                else:
                    yield transfer


def in_process(loader: StreamLoader) -> StreamLoader:
    loader.__class__ = InProcessLoader
    return loader


def stream_of(**changes: Any) -> SFTStream:
    """An awkward stream of 24 lanes in memory."""
    return make_stream(
        **{"rows": awkward_rows(8 * LANES), "max_length": 32, "buffer_size": 5, "batch_size": 2, "lanes": LANES}
        | changes
    )


def save_at(stream: SFTStream, folder: str | Path, *, ranks: int, steps: int) -> list[StreamLoader]:
    """Loaders of some ranks, each of which has taken `steps` batches and saved its state."""
    loaders = [stream.loader(rank=rank, world_size=ranks) for rank in range(ranks)]
    for loader in loaders:
        list(take(loader, steps))
        loader.save(folder)
    return loaders


def assert_continues(folder: str | Path, *, ranks: int, batch: int) -> None:
    """Ranks that load the newest state, of `batch`, read the next twelve batches of `stream_of(epochs=None)`."""
    expected = list(take(stream_of(epochs=None).loader(), batch + 12))[batch:]
    for rank in range(ranks):
        loader = stream_of(epochs=None).loader(rank=rank, world_size=ranks)
        assert loader.load(folder)
        batches = take(loader, 12 // ranks)
        assert all(
            equal(one, other) for one, other in zip(batches, expected[(rank - batch) % ranks :: ranks], strict=True)
        )
