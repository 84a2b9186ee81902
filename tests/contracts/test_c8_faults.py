"""C8: a bad row ends the stream, or is skipped, counted and kept in a quarantine list; the topology has no effect."""

import json
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from samsum_stream import ConfigError, RowError, SFTStream, SourceError, merge_states
from samsum_stream.loader.loader import StreamLoader
from tests.resuming import assert_resumes_exactly, in_process, steps_of_two_epochs, take
from tests.streams import make_rows, make_stream, rows_of_packs, workers_that_end_at_once, write_lines

NUM_ROWS = 2400
KINDS: dict[str, tuple[bytes, str, str]] = {
    "no input": (b'{"response": "11"}', "input", "missing_field"),
    "no response": (b'{"input": "11"}', "response", "missing_field"),
    "a number as input": (b'{"input": 11, "response": "11"}', "input", "wrong_type"),
    "a dict as contexts": (b'{"input": "11", "response": "11", "contexts": {}}', "contexts", "wrong_type"),
    "a blank response": (b'{"input": "11", "response": " "}', "response", "empty_response"),
    "half of a surrogate pair": (b'{"input": "\\ud800", "response": "11"}', "input", "not_unicode"),
    "Latin-1": (b'{"input": "\xe9", "response": "11"}', "", "not_utf8"),
    "half a line": (b'{"input": "11", "respon', "", "not_json"),
    "a list": (b'["11", "11"]', "", "not_a_row"),
}
BAD = dict(zip(range(50, NUM_ROWS, 100), [*KINDS] * 3, strict=False))
"""The bad rows, one in a hundred, and what is bad."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = make_rows(600)
    lines = [json.dumps(rows[number % 600]).encode() for number in range(NUM_ROWS)]
    for row, kind in BAD.items():
        lines[row] = KINDS[kind][0]
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def make(path: Path, *, limit: float = 0.02, folder: Path | None = None, **changes: Any) -> SFTStream:
    faults = {"on_bad_row": "skip", "max_bad_rows": limit}
    if folder is not None:
        faults["quarantine_path"] = str(folder / "bad.jsonl")
    source = {"method": "jsonl", "kwargs": {"path": str(path)}}
    return make_stream(source_config=source, fault_config=faults, **{"lanes": 4, **changes})


def read_whole(loader: StreamLoader) -> None:
    for _ in loader:
        pass


def quarantine(stream: SFTStream) -> list[tuple[int, str, str]]:
    return [(bad.position.row, bad.field, bad.reason) for bad in stream.stats.quarantine]


def test_bad_rows_are_skipped_and_counted_by_reason_and_all_others_are_read(path: Path) -> None:
    stream = make(path)
    rows = rows_of_packs(stream)
    assert sorted(rows) == [row for row in range(NUM_ROWS) if row not in BAD]
    reasons = [KINDS[kind][2] for kind in BAD.values()]
    assert stream.stats.skipped == {reason: reasons.count(reason) for reason in reasons}
    assert sorted(quarantine(stream)) == [(row, *KINDS[kind][1:]) for row, kind in BAD.items()]
    assert stream.stats.rows == NUM_ROWS


@pytest.mark.parametrize("epochs", [1, None])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:This DataLoader will create:UserWarning")
def test_the_quarantine_is_the_same_with_any_number_of_workers(path: Path, epochs: int | None) -> None:
    results = []
    for num_workers in (0, 1, 4):
        stream = make(path, epochs=epochs)
        for _ in take(stream.loader(num_workers=num_workers), 400):
            pass
        results.append((quarantine(stream), stream.stats.skipped))
    assert len(results[0][0]) > 20
    assert results[0] == results[1] == results[2]


def test_one_more_bad_row_than_the_limit_ends_the_stream(path: Path) -> None:
    read_whole(make(path, limit=len(BAD)).loader())
    too_low = make(path, limit=len(BAD) - 1)
    with pytest.raises(
        SourceError, match=f"max_bad_rows: {len(BAD)} rows are bad, and the limit is {len(BAD) - 1}; .*row"
    ):
        read_whole(too_low.loader())
    with pytest.raises(SourceError, match="max_bad_rows"):
        list(too_low)


def test_the_limit_holds_in_a_mixture_that_reads_different_rows_of_a_child_in_every_epoch(tmp_path: Path) -> None:
    """An epoch reads ten rows of a child with 50% bad rows, so that no single epoch exceeds the limit."""
    bad_rows = [{"input": "11"}, *make_rows(1)]
    write_lines(tmp_path / "few.jsonl", make_rows(10))
    write_lines(tmp_path / "bad.jsonl", bad_rows * 100)
    sources = {
        name: {"method": "jsonl", "kwargs": {"path": str(tmp_path / f"{name}.jsonl")}} for name in ("few", "bad")
    }

    def stream_with(limit: int) -> SFTStream:
        faults = {"on_bad_row": "skip", "max_bad_rows": limit}
        source = {"method": "mixture", "kwargs": {"sources": sources}}
        return make_stream(source_config=source, fault_config=faults, epochs=20, lanes=1)

    for read in (list, lambda stream: list(stream.loader())):
        read(stream_with(100))
        with pytest.raises(SourceError, match="max_bad_rows: .* rows are bad, and the limit is 30"):
            read(stream_with(30))


def test_a_rate_is_evaluated_over_a_thousand_rows_of_a_lane(path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"max_bad_rows: \d+ of [\d,]+ rows of a lane are bad, and the limit is 0.005;"
    ):
        read_whole(make(path, limit=0.005, lanes=1).loader())


def test_a_resumed_run_evaluates_the_same_rate(path: Path) -> None:
    """The batch that raises depends only on the position: here a state is loaded before every batch."""

    def batches_before_the_error(loader: StreamLoader, *, restarts: bool) -> int:
        for number in range(10**6):
            try:
                next(iter(loader))
            except SourceError:
                return number
            if restarts:
                state = json.loads(json.dumps(loader.state_dict()))
                loader.load_state_dict(state)
        raise AssertionError("the loader never raised")

    counts = {batches_before_the_error(make(path, limit=0.006, lanes=2).loader(), restarts=r) for r in (True, False)}
    assert len(counts) == 1
    assert counts.pop() > 50


@pytest.mark.parametrize("epochs", [None, 1])
def test_skipped_rows_are_skipped_again_after_a_restart(path: Path, tmp_path: Path, epochs: int | None) -> None:
    short = tmp_path / "short.jsonl"
    short.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[40:160]))
    stream = make(short, limit=100, epochs=epochs, lanes=4)
    assert_resumes_exactly(stream.loader, num_steps=steps_of_two_epochs(stream.loader()))


def test_the_file_lists_the_skipped_rows_without_their_content(path: Path, tmp_path: Path) -> None:
    stream = make(path, folder=tmp_path)
    read_whole(stream.loader())
    lines = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert {(line["row"], line["field"], line["reason"]) for line in lines} == set(quarantine(stream))
    assert lines[0].keys() == {"batch", "source", "shard", "row", "epoch", "field", "reason"}
    assert "respon" not in (tmp_path / "bad.jsonl").read_text().replace('"response"', "").replace("empty_response", "")


def test_a_resumed_run_writes_the_same_file_as_an_uninterrupted_run(path: Path, tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "stopped"
    read_whole(make(path, folder=whole).loader())
    state = None
    for num_batches in (20, 90, 60, 10**6):
        loader = make(path, folder=folder).loader()
        if state is not None:
            loader.load_state_dict(state)
        for number, _ in enumerate(loader, start=1):
            if number == num_batches // 2:
                state = loader.state_dict()  # the later batches are read again
            if number == num_batches:
                break
    assert (folder / "bad.jsonl").read_text() == (whole / "bad.jsonl").read_text()


def test_each_rank_writes_a_file_and_a_job_with_other_ranks_continues_them(path: Path, tmp_path: Path) -> None:
    def lines_of(folder: Path) -> list[str]:
        return sorted(line for file in folder.iterdir() for line in file.read_text().splitlines())

    read_whole(in_process(make(path, folder=tmp_path / "one").loader()))
    folder, states = tmp_path / "many", []
    for rank in range(2):
        loader = make(path, folder=folder).loader(rank=rank, world_size=2)
        for number, _ in enumerate(islice(loader, 100), start=1):
            if number == 50:
                states.append(loader.state_dict())
    assert {file.name for file in folder.iterdir()} == {"bad.rank-0.jsonl", "bad.rank-1.jsonl"}
    one_rank = make(path, folder=folder).loader()
    one_rank.load_state_dict(merge_states(states))
    read_whole(one_rank)
    assert lines_of(folder) == lines_of(tmp_path / "one")


def test_tracing_a_batch_does_not_change_the_file(path: Path, tmp_path: Path) -> None:
    from samsum_stream.inspection.trace import trace_batch

    stream = make(path, folder=tmp_path)
    read_whole(stream.loader())
    before = (tmp_path / "bad.jsonl").read_text()
    trace_batch(make(path, folder=tmp_path), 3)
    assert (tmp_path / "bad.jsonl").read_text() == before


def test_if_all_first_rows_are_bad_they_are_not_skipped_and_the_rule_is_reported() -> None:
    rows = [{"input": row["input"], "answer": row["response"]} for row in make_rows(100)]
    with pytest.raises(SourceError, match="columns: rows:0 .*: field 'response' has no column 'response'"):
        make_stream(rows, fault_config={"on_bad_row": "skip", "max_bad_rows": 100})


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_without_skipping_a_bad_row_ends_the_stream_with_its_position(path: Path) -> None:
    with workers_that_end_at_once():
        for num_workers in (0, 2):
            source = {"method": "jsonl", "kwargs": {"path": str(path)}}
            with pytest.raises(RowError, match=r"rows\.jsonl:\d+ \(epoch 0\): "):
                read_whole(make_stream(source_config=source).loader(num_workers=num_workers))


def test_a_bad_row_counts_once_in_all_epochs(path: Path) -> None:
    stream = make(path, limit=len(BAD), epochs=3)
    read_whole(stream.loader())
    assert stream.stats.skipped.total() == 3 * len(BAD)
    for _ in make(path, limit=len(BAD), epochs=3):
        pass


def test_a_run_that_a_bad_row_ended_can_resume_and_skip_it(path: Path, tmp_path: Path) -> None:
    later = tmp_path / "rows.jsonl"  # the first rows are checked when the stream is built
    later.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[51:]))
    source = {"method": "jsonl", "kwargs": {"path": str(later)}}
    loader = make_stream(source_config=source, lanes=4, epochs=None).loader()
    with pytest.raises(RowError):
        read_whole(loader)
    state = loader.state_dict()
    for limit in (1, 100):
        resumed = make(later, limit=limit, epochs=None).loader()
        resumed.load_state_dict(state)
        if limit == 1:
            with pytest.raises(SourceError, match="raise max_bad_rows"):
                read_whole(resumed)
            state = resumed.state_dict()
    assert len(list(islice(resumed, 50))) == 50


@pytest.mark.parametrize("content", ["no json\n", '{"batch": 3, "input": "a row of mine"}\n'])
def test_a_file_with_other_lines_is_not_changed(path: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.jsonl").write_text(content)
    with pytest.raises(ConfigError, match=r"quarantine_path: .*bad\.jsonl is not a list of bad rows"):
        read_whole(make(path, folder=tmp_path).loader())
    assert (tmp_path / "bad.jsonl").read_text() == content


def test_a_list_that_cannot_be_written_is_an_error(path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"quarantine_path: .*bad\.jsonl cannot be written to \(FileExistsError"):
        read_whole(make(path, folder=tmp_path / "file").loader())
    loader = make(path, folder=tmp_path / "full").loader()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/bad.jsonl").symlink_to("/dev/full")
    with (
        mock.patch("samsum_stream.loader.quarantine.quarantine._cut"),  # it would read zeros forever
        pytest.raises(ConfigError, match=r"bad\.jsonl cannot be written to \(OSError: .*No space left"),
    ):
        read_whole(loader)
    with pytest.raises(ConfigError, match="quarantine_path: ~nobody-of-that-name/bad.jsonl cannot be written to"):
        make(path, folder=Path("~nobody-of-that-name")).loader()
