"""`slice` and `max_rows`: a stream reads exactly the rows that they keep, at their positions."""

from pathlib import Path
from typing import Any

import pytest

from samsum_stream import ConfigError, SFTStream, SourceError, StateError
from tests.resuming import SOURCES, assert_resumes_exactly, make_source
from tests.stream.test_holdout import COUNTED, read, read_batches, topology
from tests.streams import make_rows, make_stream, write_lines

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

NUM_ROWS = 120
ONE_SHARD = ("generator from a callable",)
PLAIN = tuple(kind for kind in SOURCES if kind != "mixture")


def selected_stream(kind: str, folder: Path, *, selection: dict[str, Any], **changes: Any) -> SFTStream:
    source = make_source(kind, make_rows(NUM_ROWS), folder)
    section = {**source.pop("source_config", {}), **selection}
    prompt = {"kwargs": {"response_template": "say {text}"}}
    return make_stream(**source, **{"source_config": section, "prompt_config": prompt, "lanes": 1, **changes})


def in_order(kind: str, folder: Path, **selection: Any) -> list[Any]:
    """The rows of a stream, in the order of the source."""
    stream = selected_stream(kind, folder, selection=selection, shuffle=False, packing_config={"method": "greedy"})
    return read(stream)


@pytest.mark.parametrize("kind", [*COUNTED, *ONE_SHARD])
@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        ({"slice": [10, 90]}, slice(10, 90)),
        ({"slice": [50, None, 3]}, slice(50, None, 3)),
        ({"slice": [None, 7]}, slice(0, 7)),
        ({"slice": [100, 500]}, slice(100, 500)),
        ({"max_rows": 31}, slice(0, 31)),
        ({"max_rows": 5000}, slice(0, 5000)),
        ({"slice": [20, 100, 2], "max_rows": 11}, slice(20, 42, 2)),
    ],
)
def test_exactly_the_rows_of_the_slice_are_read(kind: str, selection: Any, kept: slice, tmp_path: Path) -> None:
    assert in_order(kind, tmp_path, **selection) == in_order(kind, tmp_path)[kept]


@pytest.mark.parametrize("kind", PLAIN)
class TestEverySource:
    def test_reads_at_most_a_number_of_rows(self, kind: str, tmp_path: Path) -> None:
        rows = in_order(kind, tmp_path, max_rows=31)
        assert len(set(rows)) == len(rows) == 31
        assert set(rows) < set(in_order(kind, tmp_path))

    def test_every_topology_reads_the_same_rows_and_holds_the_same_rows_out(self, kind: str, tmp_path: Path) -> None:
        def stream() -> SFTStream:
            return selected_stream(kind, tmp_path, selection={"max_rows": 80}, holdout=0.25, lanes=6, epochs=2)

        held_out = read(stream().holdout())
        loaders = topology(stream(), ranks=2, workers=3)
        training = [row for loader in loaders for row in read_batches(loader)]
        assert len({*held_out, *training}) == 80
        assert set(held_out).isdisjoint(training)
        assert sorted(training) == sorted(2 * [*set(training)])

    def test_resumes_exactly(self, kind: str, tmp_path: Path) -> None:
        def loader() -> Any:
            selection = {"max_rows": 40}
            return selected_stream(kind, tmp_path, selection=selection, lanes=2, epochs=None, buffer_size=5).loader()

        assert_resumes_exactly(loader, num_steps=24)


def test_each_child_of_a_mixture_has_its_own_rows(tmp_path: Path) -> None:
    paths = {name: write_lines(tmp_path / f"{name}.jsonl", make_rows(60)) for name in "ab"}
    children = {name: {"method": "jsonl", "kwargs": {"path": str(path)}} for name, path in paths.items()}
    children["a"] |= {"slice": [50, None]}
    children["b"] |= {"max_rows": 10}
    stream = make_stream(source_config={"method": "mixture", "kwargs": {"sources": children}}, lanes=1)
    rows = read(stream)
    assert {row for source, _, row in rows if source == "a"} == {*range(50, 60)}
    assert {row for source, _, row in rows if source == "b"} == {*range(10)}


def test_rows_that_are_left_out_need_not_be_valid() -> None:
    rows = [{"input": 3}] * 70 + make_rows(20)
    assert len(read(make_stream(rows, source_config={"slice": [70, None]}))) == 20


def test_bad_rows_have_their_own_positions() -> None:
    rows = [*make_rows(90), {"input": "20", "response": ""}]
    with pytest.raises(Exception, match="rows:90"):
        read(make_stream(rows, source_config={"slice": [5, None]}, lanes=1))


class TestErrors:
    @pytest.mark.parametrize("given", [[5], [1, 2, 3, 4], [3, 3], [-5, 3], [0, 9, 0], "3:4"])
    def test_a_slice_is_checked(self, given: object) -> None:
        with pytest.raises(ConfigError, match=r"config: source_config.slice.*(must be|has a stop)"):
            make_stream(make_rows(9), source_config={"slice": given})

    def test_a_slice_of_several_shards_of_unknown_size(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"config: source_config.slice: .* has 2 shards.*or write max_rows"):
            selected_stream("tars", tmp_path, selection={"slice": [5, 9]})

    def test_a_slice_without_rows(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"config: source_config.slice: \[500, None\] keeps none of the 9 rows"):
            make_stream(make_rows(9), source_config={"slice": [500, None]})
        with pytest.raises(SourceError, match="there are no rows|has no rows"):
            selected_stream("generator from a callable", tmp_path, selection={"slice": [500, None]})

    def test_a_mixture_has_no_slice_of_its_own(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="a mixture has no max_rows of its own; write max_rows beside the method"):
            selected_stream("mixture", tmp_path, selection={"max_rows": 5})

    def test_a_state_of_other_rows_names_the_selection(self) -> None:
        state = make_stream(make_rows(60)).loader().state_dict()
        with pytest.raises(StateError, match=r"selection was None and is \[0, 30, 1\]"):
            make_stream(make_rows(60), source_config={"max_rows": 30}).loader().load_state_dict(state)
