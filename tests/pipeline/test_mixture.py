"""Mixtures: shares, the end of an epoch, order, state, and their config."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream import ConfigError, SFTStream, SourceError, StateError, TopologyError, TrustError, load_config
from samsum_stream.lanes.order import Order
from samsum_stream.pipeline.mixing import Draws
from samsum_stream.sources.mixture import Mix
from tests.resuming import assert_resumes_exactly, in_process, make_source, take
from tests.schemas import require_rejection
from tests.streams import make_rows, make_stream, workers_that_end_at_once, write_lines

WEIGHTS = {"a": 70, "b": 20, "c": 10}


class Lengths:
    """A child with examples of these lengths in every epoch. Each row has one example."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths, self.num_epochs = lengths, 0

    def epoch(self) -> Iterator[tuple[int, int, int]]:
        self.num_epochs += 1
        return iter([(length, 1, self.num_epochs) for length in self.lengths])


def draws_of(
    children: list[list[int]], mix: Mix, *, lane: int = 0, shuffle: bool = True
) -> Draws[tuple[int, int, int]]:
    order = Order(4, seed=0, shuffle=shuffle)
    return Draws([Lengths(lengths) for lengths in children], mix, order=order, lane=lane)


def mix_of(*weights: float, by: Any = "rows", strategy: Any = "endless") -> Mix:
    return Mix(weights, by, strategy)


# ---------------------------------------------------------------------------------------------------- the next child


def test_rows_come_in_proportion_to_the_weights() -> None:
    draws = draws_of([[1] * 9] * 2, mix_of(2, 1), shuffle=False)
    assert [child for child, _ in islice(draws.epoch(), 9)] == [0, 1, 0, 0, 1, 0, 0, 1, 0]


def test_a_rare_child_comes_at_different_times_in_the_lanes() -> None:
    firsts = set()
    for lane in range(4):
        drawn = [child for child, _ in islice(draws_of([[1] * 99] * 2, mix_of(9, 1), lane=lane).epoch(), 20)]
        firsts.add(drawn.index(1))
    assert len(firsts) > 2


children = st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=20), min_size=1, max_size=5)


@given(children, st.data(), st.sampled_from(["rows", "tokens"]), st.integers(0, 3))
def test_no_child_is_further_from_its_share_than_one_example_of_each(
    lengths: list[list[int]], data: st.DataObject, by: str, lane: int
) -> None:
    weights = data.draw(st.lists(st.floats(0.1, 10), min_size=len(lengths), max_size=len(lengths)))
    draws = draws_of(lengths, mix_of(*weights, by=by), lane=lane)
    longest = [max(child_lengths) if by == "tokens" else 1 for child_lengths in lengths]
    for _ in islice(draws.epoch(), 200):
        turns = [drawn / weight for drawn, weight in zip(draws.drawn, weights, strict=True)]
        slack = [(most + 1) / weight for most, weight in zip(longest, weights, strict=True)]
        for turn, child_slack in zip(turns, slack, strict=True):
            assert turn - min(turns) <= child_slack + max(slack)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.lists(st.integers(1, 9), min_size=4, max_size=4))
def test_an_epoch_ends_with_the_first_child_or_when_all_have_ended(sizes: list[int], weights: list[int]) -> None:
    for strategy in ("first_exhausted", "all_exhausted"):
        draws = draws_of([[1] * size for size in sizes], mix_of(*weights[: len(sizes)], strategy=strategy))
        drawn = Counter(child for child, _ in draws.epoch())
        whole = [drawn[child] >= size for child, size in enumerate(sizes)]
        assert any(whole) if strategy == "first_exhausted" else all(whole)
        if strategy == "first_exhausted":
            assert all(drawn[child] <= size for child, size in enumerate(sizes))
        assert list(draws.epoch())  # the next epoch continues
        assert draws.num_epochs == 1


# ------------------------------------------------------------------------------------------------------------- streams


def mixture(folder: Path, *, sizes: tuple[int, ...] = (60, 60, 60), **kwargs: Any) -> dict[str, Any]:
    """Three files. The words of the rows are different in each, so that they identify the child."""
    rows, sources, start = make_rows(sum(sizes)), {}, 0
    for (name, weight), size in zip(WEIGHTS.items(), sizes, strict=True):
        child_rows, start = rows[start : start + size], start + size
        if name == "b":
            pq.write_table(pa.Table.from_pylist(child_rows), folder / "b.parquet", row_group_size=25)
            source = {"method": "parquet", "kwargs": {"path": str(folder / "b.parquet")}}
        else:
            source = {"method": "jsonl", "kwargs": {"path": str(write_lines(folder / f"{name}.jsonl", child_rows))}}
        sources[name] = {**source, "weight": weight}
    return {"method": "mixture", "kwargs": {"sources": sources, **kwargs}}


def gzipped(path: Path) -> Path:
    other = path.with_name(f"{path.name}.gz")
    other.write_bytes(gzip.compress(path.read_bytes()))
    return other


def children_of(stream: SFTStream) -> Counter[str]:
    return Counter(example.position.source for pack in stream for example in pack.examples)


def test_first_exhausted_ends_the_epoch_with_the_first_child(tmp_path: Path) -> None:
    stream = make_stream(source_config=mixture(tmp_path), lanes=1)
    drawn = children_of(stream)
    assert (drawn["a"], drawn["b"], drawn["c"]) == (60, pytest.approx(17, abs=1), pytest.approx(8.5, abs=1))


def test_all_exhausted_reads_each_row_at_least_once(tmp_path: Path) -> None:
    config = mixture(tmp_path, sizes=(20, 15, 9), stopping_strategy="all_exhausted")
    stream = make_stream(source_config=config, lanes=3)
    rows = [example.position[:3] for pack in stream for example in pack.examples]
    assert len(set(rows)) == 44
    drawn = stream.stats.children
    assert drawn["c"].epochs == pytest.approx(1, abs=0.4)
    assert drawn["a"].epochs > 3  # it starts again several times


@pytest.mark.parametrize("strategy", ["first_exhausted", "all_exhausted"])
def test_an_epoch_has_the_same_rows_with_and_without_a_plan(tmp_path: Path, strategy: str) -> None:
    """The plan of a loader changes the batch of a row. It does not change which rows are read."""
    config = mixture(tmp_path, sizes=(40, 30, 20), weight_by="tokens", stopping_strategy=strategy)
    stream = make_stream(source_config=config, lanes=3)
    loader = stream.loader()
    planned = Counter(
        example.position for _ in loader for pack in loader.last_batch_info.packs for example in pack.examples
    )
    plain = make_stream(source_config=config, lanes=3)
    assert planned == Counter(example.position for pack in plain for example in pack.examples)


def test_an_epoch_of_a_child_can_span_two_epochs_of_the_stream(tmp_path: Path) -> None:
    """The few rows repeat. All lanes share the shards of this child."""
    config = mixture(tmp_path, sizes=(30, 30, 9), stopping_strategy="all_exhausted")
    few = config["kwargs"]["sources"]["c"] | {"weight": 100}
    few["kwargs"]["path"] = str(gzipped(Path(few["kwargs"]["path"])))
    config["kwargs"]["sources"]["c"] = few
    in_one, in_two = (make_stream(source_config=config, lanes=3, epochs=epochs) for epochs in (2, 1))
    rows = [example.position for pack in in_one for example in pack.examples]
    again = [example.position for _ in range(2) for pack in in_two for example in pack.examples]
    assert Counter(rows) == Counter(again)


def test_shares_of_tokens_hold_after_1000_batches_and_when_resumed_at_ten_batches(tmp_path: Path) -> None:
    rows = {"a": ("word " * 3, 40), "b": ("word " * 11, 30), "c": ("word " * 25, 20)}
    sources = {}
    for name, (text, count) in rows.items():
        child_rows = [
            {"input": "10", "response": "10 " * (number % 5) + text.replace("word", "11")} for number in range(count)
        ]
        path = str(write_lines(tmp_path / f"{name}.jsonl", child_rows))
        sources[name] = {"method": "jsonl", "kwargs": {"path": path}, "weight": WEIGHTS[name]}
    config = {"method": "mixture", "kwargs": {"sources": sources, "weight_by": "tokens"}}
    stream = make_stream(source_config=config, lanes=4, epochs=None, max_length=64)
    loader = in_process(stream.loader())
    for number, _ in enumerate(take(loader, 2000), start=1):
        if number >= 1000 and number % 100 == 0:
            resumed = make_stream(source_config=config, lanes=4, epochs=None, max_length=64)
            resumed.loader().load_state_dict(json.loads(json.dumps(loader.state_dict())))
            shares = {name: child.share for name, child in resumed.stats.children.items()}
            assert shares == pytest.approx({"a": 0.7, "b": 0.2, "c": 0.1}, abs=0.01)
            assert resumed.stats.children == stream.stats.children


def test_each_child_is_counted_also_the_children_of_a_nested_mixture(tmp_path: Path) -> None:
    source = make_source("mixture", make_rows(120), tmp_path)["source_config"]
    stream = make_stream(source_config=source, lanes=4, epochs=None, max_length=8)
    loader = stream.loader()
    for _ in take(loader, 40):
        pass
    stats = stream.stats
    assert list(stats.children) == ["parquet", "inner/lines", "inner/table"]
    assert sum(child.examples for child in stats.children.values()) == stats.examples
    assert sum(child.tokens for child in stats.children.values()) == stats.tokens
    assert sum(child.rows for child in stats.children.values()) == stats.rows > stats.examples
    assert sum(child.share for child in stats.children.values()) == pytest.approx(1)
    assert stats.children["inner/table"].epochs == stats.children["inner/table"].rows / 72
    assert stats.children["inner/lines"].epochs is None  # the number of lines is unknown
    assert "inner/lines 34." in str(stats)


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("epochs", [None, 1])
@pytest.mark.parametrize("strategy", ["first_exhausted", "all_exhausted"])
def test_a_mixture_resumes_exactly(tmp_path: Path, strategy: str, epochs: int | None, num_workers: int) -> None:
    config = mixture(tmp_path, sizes=(30, 20, 12), weight_by="tokens", stopping_strategy=strategy)
    make = lambda: make_stream(source_config=config, lanes=4, epochs=epochs, buffer_size=5)  # noqa: E731
    with workers_that_end_at_once():
        assert_resumes_exactly(lambda: make().loader(num_workers=num_workers), num_steps=30)


def test_children_of_the_same_size_have_different_orders(tmp_path: Path) -> None:
    stream = make_stream(source_config=mixture(tmp_path, sizes=(50, 50, 50)), lanes=1, epochs=None)
    rows: dict[str, list[int]] = {"a": [], "b": []}
    for example in islice((example for pack in stream for example in pack.examples), 150):
        rows.setdefault(example.position.source, []).append(example.position.row)
    assert rows["a"][:10] != rows["b"][:10]


def test_the_error_of_a_bad_row_names_its_child(tmp_path: Path) -> None:
    config = mixture(tmp_path)
    with (tmp_path / "c.jsonl").open("a") as file:
        file.write('{"input": "1"}\n')
    with pytest.raises(SourceError, match=r"c/c\.jsonl:60.*response"):
        children_of(make_stream(source_config=config, epochs=None, lanes=1))


# -------------------------------------------------------------------------------------------------------------- errors


def test_more_lanes_than_rows_of_a_child_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(make_rows(5)), tmp_path / "few.parquet")
    sources = {"few": {"method": "parquet", "kwargs": {"path": str(tmp_path / "few.parquet")}}}
    with pytest.raises(TopologyError, match="8 lanes need at least 8 rows, but the source has 5"):
        make_stream(source_config={"method": "mixture", "kwargs": {"sources": sources}}, lanes=8).loader()


@pytest.mark.parametrize("is_counted", [False, True])
def test_a_child_without_a_row_to_train_on_is_an_error(tmp_path: Path, is_counted: bool) -> None:
    """It would always be the turn of this child, so that no other child would be read."""
    config = mixture(tmp_path, sizes=(20, 15, 9), stopping_strategy="all_exhausted")
    write_lines(tmp_path / "c.jsonl", [{"input": "11", "response": " ".join(["11"] * 60)}] * 9)
    stream = make_stream(source_config=config, lanes=1)
    with pytest.raises(SourceError, match="c: lane 0 has no row to train on: its last .* longer_than_max_length"):
        list(stream.loader() if is_counted else stream)


@pytest.mark.parametrize("is_nested", [False, True])
def test_an_endless_mixture_has_no_epochs(tmp_path: Path, is_nested: bool) -> None:
    config = mixture(tmp_path, stopping_strategy="endless")
    if is_nested:
        config = {"method": "mixture", "kwargs": {"sources": {"inner": config}}}
    with pytest.raises(
        ConfigError, match=r"stopping_strategy: endless has no end, and epochs is 1; write epochs: null"
    ):
        make_stream(source_config=config)
    assert make_stream(source_config=config, epochs=None)


def test_a_state_of_other_weights_or_children_is_refused(tmp_path: Path) -> None:
    stream = make_stream(source_config=mixture(tmp_path), lanes=2, epochs=None)
    loader = stream.loader()
    next(iter(loader))
    state = loader.state_dict()
    for changes in ({"weight_by": "tokens"}, {"stopping_strategy": "all_exhausted"}):
        other = make_stream(source_config=mixture(tmp_path, **changes), lanes=2, epochs=None).loader()
        with pytest.raises(StateError, match="source was"):
            other.load_state_dict(state)
    state["lanes"]["0"] |= {"children": state["lanes"]["0"]["children"][:2], "turns": []}
    with pytest.raises(
        StateError, match="the state is torn: lane 0 has positions in unknown sources; use an older state"
    ):
        stream.loader().load_state_dict(state)


YAML = """\
source_config:
  method: mixture
  kwargs:
    {kwargs}
    sources:
      chat:
        method: {method}
        {child}
base_model: here
"""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"child": "weight: 0"}, r"c\.yaml:8: source_config\.kwargs\.sources\.chat\.weight: must be a number above 0"),
        ({"child": "weight: 1.0e+16"}, r"c\.yaml:8: .*chat\.weight: must be a number above 0, from 1e-15 to 1e15"),
        ({"child": "weight: 5.0e-324"}, r"c\.yaml:8: .*chat\.weight: must be a number above 0, from 1e-15 to 1e15"),
        ({"child": "wieght: 1"}, r"c\.yaml:8: source_config\.kwargs\.sources\.chat\.wieght: unknown key; .*weight"),
        ({"child": "columns: {inptu: x}"}, r"c\.yaml:8: .*chat\.columns\.inptu: unknown column; .*input"),
        ({"kwargs": "weigh_by: tokens"}, r"c\.yaml:4: source_config\.kwargs\.weigh_by: unknown key; .*weight_by"),
        ({"kwargs": "stopping_strategy: first"}, r"c\.yaml:4: .*stopping_strategy: must be .*first_exhausted"),
        (
            {"method": "mixture", "child": 'kwargs: {sources: {"": {method: jsonl}}}'},
            r"c\.yaml:8: .*a key must be text",
        ),
        ({"method": "mixture", "child": "kwargs: {sources: {}}"}, r"c\.yaml:8: .*chat\.kwargs\.sources: must"),
    ],
)
def test_errors_of_a_config_have_their_location(tmp_path: Path, values: dict[str, str], message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(YAML.format(**{"kwargs": "weight_by: rows", "method": "jsonl", "child": "weight: 1"} | values))
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    require_rejection(path.read_text(), str(caught.value))


@pytest.mark.parametrize("method", ["jsnol", "os::listdir"])
def test_a_child_is_named_or_trusted_like_any_source(method: str) -> None:
    inner = {"method": "mixture", "kwargs": {"sources": {"chat": {"method": method}}}}
    error, text = (TrustError, "would import code") if "::" in method else (ConfigError, 'did you mean "jsonl"')
    with pytest.raises(error, match=text) as caught:
        make_stream(source_config={"method": "mixture", "kwargs": {"sources": {"inner": inner}}})
    assert "source_config.kwargs.sources.inner.kwargs.sources.chat.method" in str(caught.value)


def test_two_sources_with_the_same_name_are_an_error(tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", make_rows(20))
    source = {"method": "jsonl", "kwargs": {"path": str(tmp_path / "rows.jsonl")}}
    inner = {"method": "mixture", "kwargs": {"sources": {"b": source}}}
    with pytest.raises(ConfigError, match="two sources are called 'a/b', .*another name"):
        make_stream(source_config={"method": "mixture", "kwargs": {"sources": {"a/b": source, "a": inner}}})


def test_other_columns_of_a_child_make_another_stream(tmp_path: Path) -> None:
    rows = [{**row, "short": "1", "long": "1 1"} for row in make_rows(20)]
    write_lines(tmp_path / "rows.jsonl", rows)

    def reading(column: str) -> SFTStream:
        child = {"method": "jsonl", "kwargs": {"path": str(tmp_path / "rows.jsonl")}, "columns": {"contexts": column}}
        return make_stream(source_config={"method": "mixture", "kwargs": {"sources": {"a": child}}}, epochs=None)

    state = reading("short").loader().state_dict()
    reading("short").loader().load_state_dict(state)
    with pytest.raises(StateError, match="another stream: .*columns was a/contexts=short and is a/contexts=long"):
        reading("long").loader().load_state_dict(state)


def test_a_mixture_has_no_columns(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source_config\.columns: a mixture has no columns of its own"):
        make_stream(source_config={**mixture(tmp_path), "columns": {"input": "dialogue"}})
