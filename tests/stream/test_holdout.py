"""The validation split: training and the held-out rows are disjoint and complete, whatever reads them."""

import itertools
import json
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream import ConfigError, SFTStream, StateError
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.sources import as_source
from samsum_stream.stream.holdout import held_out_rows, training_rows
from tests.resuming import SOURCES, assert_resumes_exactly, in_process, make_source
from tests.streams import make_rows, make_stream, write_lines

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

NUM_ROWS = 120
SHARE = 0.2
COUNTED = ("list", "dataset", "jsonl", "parquet", "sequence from a callable")
"""The sources whose number of rows is known before they are read."""

Place = tuple[str, str, int]
"""The source, the shard and the number of a row."""


def split_stream(kind: str, folder: Path, **changes: Any) -> SFTStream:
    """A stream over 120 rows; a mixture reads each row of its children."""
    source = make_source(kind, make_rows(NUM_ROWS), folder)
    if kind == "mixture":
        source["source_config"]["kwargs"]["stopping_strategy"] = "all_exhausted"
    prompt = {"kwargs": {"response_template": "say {text}"}}
    return make_stream(**source, **{"holdout": SHARE, "prompt_config": prompt, **changes})


def places(positions: Iterable[Any]) -> list[Place]:
    return [(position.source, position.shard, position.row) for position in positions]


def read(stream: SFTStream) -> list[Place]:
    return places(example.position for pack in stream for example in pack.examples)


def read_batches(loader: StreamLoader, *, num_batches: int | None = None) -> list[Place]:
    read: list[Place] = []
    for _ in itertools.islice(loader, num_batches):
        assert loader.last_batch_info is not None
        read += places(itertools.chain.from_iterable(loader.last_batch_info.positions))
    return read


def topology(stream: SFTStream, *, ranks: int, workers: int) -> list[StreamLoader]:
    return [in_process(stream.loader(rank=rank, world_size=ranks, num_workers=workers)) for rank in range(ranks)]


@pytest.mark.parametrize("kind", SOURCES)
class TestEverySource:
    def test_training_and_the_held_out_rows_are_disjoint_and_complete(self, kind: str, tmp_path: Path) -> None:
        everything = set(read(split_stream(kind, tmp_path, holdout=0)))
        stream = split_stream(kind, tmp_path, epochs=3)
        training, held_out = read(stream), read(stream.holdout())
        assert len(held_out) == len(set(held_out))
        assert set(held_out).isdisjoint(training)
        assert {*held_out, *training} == everything
        assert 0.5 * SHARE < len(held_out) / len(everything) < 1.5 * SHARE

    def test_the_split_is_that_of_every_seed_topology_and_length(self, kind: str, tmp_path: Path) -> None:
        expected = set(read(split_stream(kind, tmp_path).holdout()))
        other = split_stream(kind, tmp_path, seed=5, shuffle=False, lanes=6, batch_size=3, epochs=2, max_length=48)
        for ranks, workers in ((1, 0), (2, 1), (2, 3)):
            for loader in topology(other, ranks=ranks, workers=workers):
                assert expected.isdisjoint(read_batches(loader))
            loaders = topology(other.holdout(lanes=6), ranks=ranks, workers=workers)
            held_out = [row for loader in loaders for row in read_batches(loader)]
            assert sorted(held_out) == sorted(expected)

    def test_an_endless_stream_never_reads_a_held_out_row(self, kind: str, tmp_path: Path) -> None:
        stream = split_stream(kind, tmp_path, epochs=None, lanes=2)
        training = read_batches(stream.loader(), num_batches=150)
        assert len(training) > 2 * NUM_ROWS
        assert set(read(stream.holdout())).isdisjoint(training)

    def test_resumes_exactly_on_another_topology(self, kind: str, tmp_path: Path) -> None:
        stream = split_stream(kind, tmp_path, epochs=None, lanes=6)
        whole = read_batches(stream.loader(), num_batches=40)
        loader = stream.loader()
        before = read_batches(loader, num_batches=16)
        state = json.loads(json.dumps(loader.state_dict()))
        ranks = topology(split_stream(kind, tmp_path, epochs=None, lanes=6), ranks=2, workers=1)
        after: list[list[list[Place]]] = []
        for rank in ranks:
            rank.load_state_dict(state)
            after.append([read_batches(rank, num_batches=1) for _ in range(12)])
        assert before + [row for pair in zip(*after, strict=True) for batch in pair for row in batch] == whole

    def test_both_streams_resume_exactly_at_every_step(self, kind: str, tmp_path: Path) -> None:
        def training() -> StreamLoader:
            return split_stream(kind, tmp_path, lanes=4, epochs=None, buffer_size=5).loader()

        def held_out() -> StreamLoader:
            return split_stream(kind, tmp_path, buffer_size=5).holdout(batch_size=1, lanes=2).loader()

        assert_resumes_exactly(training, num_steps=24)
        assert_resumes_exactly(held_out, num_steps=len(held_out()) + 2)


class TestTheNumberOfRows:
    @given(num_rows=st.integers(2, 400), data=st.data())
    def test_is_exact_if_the_number_of_all_rows_is_known(self, num_rows: int, data: st.DataObject) -> None:
        source = as_source([{"input": str(row), "response": "x"} for row in range(num_rows)], name="r", columns={})
        number = data.draw(st.integers(1, num_rows - 1))
        parts = [
            part.first_block(num_rows).take(np.arange(part.num_rows or 0)).rows.tolist()
            for part in (training_rows(source, number, where=""), held_out_rows(source, number, where=""))
        ]
        assert len(parts[1]) == number
        assert sorted([*parts[0], *parts[1]]) == list(range(num_rows))
        assert all(part == sorted(part) for part in parts)

    @pytest.mark.parametrize("kind", COUNTED)
    @pytest.mark.parametrize(("holdout", "number"), [(7, 7), (0.1, 12), (0.001, 1), (119, 119)])
    def test_of_a_number_or_a_share(self, kind: str, holdout: float, number: int, tmp_path: Path) -> None:
        stream = split_stream(kind, tmp_path, holdout=holdout)
        assert stream.holdout().pipeline.num_rows == number
        assert len(read(stream.holdout())) == number
        assert len(read(stream)) == NUM_ROWS - number == stream.pipeline.num_rows

    @pytest.mark.parametrize("kind", sorted({*SOURCES} - {*COUNTED}))
    def test_must_be_a_share_if_the_number_of_all_rows_is_unknown(self, kind: str, tmp_path: Path) -> None:
        with pytest.raises(
            ConfigError, match=r"config: holdout: a number of rows needs .*; write a share, such as 0.01"
        ):
            split_stream(kind, tmp_path, holdout=7)

    @pytest.mark.parametrize(("holdout", "number"), [(120, 120), (500, 500), (0.999, 120)])
    def test_must_leave_a_row_for_training(self, holdout: float, number: int) -> None:
        with pytest.raises(
            ConfigError, match=f"config: holdout: rows has 120 rows, and {number} of them would be held"
        ):
            make_stream(make_rows(120), holdout=holdout)

    @pytest.mark.parametrize(("value", "problem"), [(1.0, "share below 1"), (-1, "0 or more"), ("x", "0 or more")])
    def test_is_checked(self, value: object, problem: str) -> None:
        with pytest.raises(ConfigError, match=f"config: holdout: .*{problem}"):
            make_stream(holdout=value)


class TestTheRows:
    def test_are_those_of_every_later_version(self) -> None:
        """A run that continues with a later version must not train on a row that was held out before."""
        stream = make_stream(make_rows(100), holdout=5)
        assert sorted(row for _, _, row in read(stream.holdout())) == [36, 48, 49, 95, 97]

    def test_each_child_of_a_mixture_is_split_by_itself(self, tmp_path: Path) -> None:
        def children(sizes: Sequence[int]) -> dict[str, Any]:
            paths = [write_lines(tmp_path / f"{size}.jsonl", make_rows(size)) for size in sizes]
            return {str(path.stem): {"method": "jsonl", "kwargs": {"path": str(path)}} for path in paths}

        def held_out(sizes: Sequence[int]) -> list[Place]:
            config = {"method": "mixture", "kwargs": {"sources": children(sizes)}}
            return read(make_stream(source_config=config, holdout=5).holdout())

        both = held_out([40, 90])
        assert [source for source, _, _ in both].count("40") == [source for source, _, _ in both].count("90") == 5
        assert {*both} == {*held_out([40]), *held_out([90])}

    def test_of_a_mixture_are_each_read_once_by_more_lanes_than_a_child_has(self, tmp_path: Path) -> None:
        stream = split_stream("mixture", tmp_path, holdout=0.1)
        expected = sorted(read(stream.holdout()))
        loaders = topology(stream.holdout(), ranks=8, workers=0)
        assert sorted(row for loader in loaders for row in read_batches(loader)) == expected

    @pytest.mark.parametrize("kind", ["jsonl", "parquet", "tars", "mixture"])
    def test_are_shared_by_worker_processes(self, kind: str, tmp_path: Path) -> None:
        stream = split_stream(kind, tmp_path, lanes=2)
        expected = sorted(read(stream.holdout()))
        assert sorted(read_batches(stream.holdout().loader(num_workers=2))) == expected
        assert set(expected).isdisjoint(read_batches(stream.loader(num_workers=2)))

    @pytest.mark.parametrize("kind", ["jsonl", "parquet", "tars", "mixture"])
    def test_are_those_of_a_copy_of_the_stream(self, kind: str, tmp_path: Path) -> None:
        """A worker that is spawned has a copy."""
        stream = split_stream(kind, tmp_path)
        for one in (stream, stream.holdout()):
            assert read(pickle.loads(pickle.dumps(one))) == read(one)


class TestTheStreamOfHeldOutRows:
    def test_reads_one_epoch_in_the_order_of_the_source(self) -> None:
        stream = make_stream(make_rows(200), holdout=50, epochs=None, lanes=24, seed=3)
        rows = [row for _, _, row in read(stream.holdout(lanes=1, packing_config={"method": "greedy"}))]
        assert rows == sorted(rows)
        assert stream.holdout().config.epochs == 1
        assert not stream.holdout().config.shuffle
        assert stream.holdout().config.lanes == "auto"

    def test_has_its_own_stats(self) -> None:
        stream = make_stream(make_rows(200), holdout=50)
        held_out = stream.holdout()
        read(held_out)
        assert (stream.stats.rows, held_out.stats.rows) == (0, 50)

    def test_has_the_settings_that_are_given(self) -> None:
        stream = make_stream(make_rows(200), holdout=50, lanes=2, collator_config={"method": "padding_free"})
        changes = {"method": "none", "kwargs": {"max_length": 16}}
        held_out = stream.holdout(packing_config=changes, collator_config={"method": "padded"}, batch_size=3)
        batches = list(held_out.loader())
        assert {len(batch["input_ids"]) for batch in batches} <= {2, 3}
        assert all("attention_mask" in batch for batch in batches)
        assert held_out.collator.max_length == held_out.pipeline.packer.max_length == 16
        assert stream.collator.max_length == 32

    def test_refuses_settings_that_would_change_the_rows(self) -> None:
        stream = make_stream(make_rows(200), holdout=50)
        with pytest.raises(ConfigError, match=r"stream.holdout: seed cannot differ .*packing_config"):
            stream.holdout(seed=3)
        with pytest.raises(ConfigError, match=r"stream.holdout: batch_size: must be"):
            stream.holdout(batch_size=0)

    def test_needs_held_out_rows(self) -> None:
        with pytest.raises(
            ConfigError, match=r"config: holdout: no rows are held out.*write a number of rows, or a share"
        ):
            make_stream().holdout()
        with pytest.raises(ConfigError, match="reads the held-out rows already"):
            make_stream(holdout=5).holdout().holdout()

    def test_of_another_run_has_the_same_rows(self) -> None:
        stream = make_stream(make_rows(200), holdout=50)
        assert read(stream.with_run(epochs=2, lanes=2).holdout()) == read(stream.holdout())

    def test_writes_no_list_of_bad_rows(self, tmp_path: Path) -> None:
        rows = [*make_rows(70), *[{"input": "20", "response": ""}] * 130]
        faults = {"on_bad_row": "skip", "max_bad_rows": 130, "quarantine_path": str(tmp_path / "bad.jsonl")}
        held_out = make_stream(rows, holdout=100, fault_config=faults).holdout()
        list(held_out.loader())
        assert held_out.stats.skipped
        assert not list(tmp_path.iterdir())

    def test_bad_rows_count_where_they_are_read(self) -> None:
        rows: list[dict[str, Any]] = make_rows(200)
        numbers = [row for _, _, row in read(make_stream(rows, holdout=50).holdout())]
        rows[numbers[20]] = {"input": "20", "response": ""}
        stream = make_stream(rows, holdout=50)
        assert len(read(stream)) == 150
        with pytest.raises(Exception, match=f"rows:{numbers[20]} "):
            read(stream.holdout())


class TestTheState:
    def test_names_the_holdout_if_it_differs(self) -> None:
        states = {holdout: make_stream(holdout=holdout).loader().state_dict() for holdout in (0, 5, 0.1)}
        for saved, now in itertools.permutations(states, 2):
            with pytest.raises(StateError, match=r"another stream: holdout was .* and is [^,]*; undo"):
                make_stream(holdout=now).loader().load_state_dict(states[saved])

    def test_of_the_training_does_not_fit_the_held_out_rows(self) -> None:
        stream = make_stream(holdout=30, shuffle=False, epochs=1, lanes=1)
        state = stream.loader().state_dict()
        with pytest.raises(StateError, match="holdout was without 30 and is only 30"):
            stream.holdout(lanes=1).loader().load_state_dict(state)

    def test_of_a_version_without_holdout_still_fits(self) -> None:
        loader = make_stream().loader()
        next(iter(loader))
        state = loader.state_dict()
        del state["fingerprint"]["holdout"]
        make_stream().loader().load_state_dict(state)
