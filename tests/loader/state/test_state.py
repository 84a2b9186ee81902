"""States: plain values, for the last few batches, merged over ranks, and refused if they are of another stream."""

import copy
import json
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
import torch.distributed.checkpoint as dcp

from samsum_stream import SFTStream, StateError, TopologyError, merge_states
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.loader.state.progress import NUM_REMEMBERED
from samsum_stream.loader.state.state import VERSION
from tests.resuming import LANES, equal, stream_of, take
from tests.streams import make_rows, make_stream


def read(loader: StreamLoader, num_batches: int) -> list[dict[str, Any]]:
    return list(take(loader, num_batches))


def rank_loaders(stream: SFTStream, ranks: int) -> list[StreamLoader]:
    return [stream.loader(rank=rank, world_size=ranks) for rank in range(ranks)]


@pytest.fixture
def stream() -> SFTStream:
    return stream_of(epochs=None)


def test_a_state_is_plain_json_with_string_lane_keys(stream: SFTStream) -> None:
    loader = stream.loader()
    read(loader, 30)
    state = loader.state_dict()
    assert json.loads(json.dumps(state)) == state
    assert list(state) == ["version", "fingerprint", "batch", "epoch_run", "lanes", "stats"]
    assert list(state["lanes"]) == [str(lane) for lane in range(LANES)]
    assert (state["version"], state["batch"]) == (VERSION, 30) == (3, 30)


def test_a_state_has_no_text_and_no_tokens() -> None:
    rows = [{"input": "100 101 102", "response": f"{index % 9 + 200}"} for index in range(200)]
    loader = stream_of(epochs=None, rows=rows).loader()
    read(loader, 30)
    assert not any(str(word) in json.dumps(loader.state_dict()["lanes"]) for word in ("100 101", "[100, 101"))


def test_the_stats_are_part_of_the_state(stream: SFTStream) -> None:
    loader = stream.loader()
    read(loader, 50)
    resumed_stream = stream_of(epochs=None)
    resumed = resumed_stream.loader()
    resumed.load_state_dict(loader.state_dict())
    assert resumed_stream.stats.counts == stream.stats.counts
    assert stream.stats.dropped["longer_than_max_length"] > 0
    assert stream.stats.special_tokens_in_rows > 0
    read(loader, 20)
    read(resumed, 20)
    assert resumed_stream.stats.counts == stream.stats.counts


def test_a_second_loaded_state_replaces_the_first(stream: SFTStream) -> None:
    loader = stream.loader()
    early = loader.state_dict()
    read(loader, 50)
    loader.load_state_dict(early)
    assert stream.stats.tokens == 0
    assert equal(read(loader, 1)[0], read(stream_of(epochs=None).loader(), 1)[0])


@pytest.mark.parametrize("ranks", [1, 2])
def test_states_of_the_last_few_batches_can_be_returned(stream: SFTStream, ranks: int) -> None:
    for loader in rank_loaders(stream, ranks):
        states = [loader.state_dict()]
        for _ in take(loader, NUM_REMEMBERED + 5):
            states.append(loader.state_dict())
        for state in states[-NUM_REMEMBERED - 1 :]:
            assert loader.state_dict(batch=state["batch"]) == state
        with pytest.raises(StateError, match=r"only the last 16 batches are remembered; pass one of .*: \d+, .*\d+$"):
            loader.state_dict(batch=states[2]["batch"])
        for never in (states[-1]["batch"] + ranks, -1):
            with pytest.raises(StateError, match="pass one of the batches that this rank remembers"):
                loader.state_dict(batch=never)


def test_an_older_state_can_be_of_the_epoch_run_before() -> None:
    loader = stream_of(epochs=1).loader()
    states = [loader.state_dict()]
    for _ in take(loader, len(loader) + 5):
        states.append(loader.state_dict())
    for state in states[-10:]:
        assert loader.state_dict(batch=state["batch"]) == state


def test_an_older_iterator_is_an_error_after_a_newer_one_or_a_loaded_state(stream: SFTStream) -> None:
    loader = stream.loader()
    older = iter(loader)
    next(older)
    newer = iter(loader)
    next(newer)
    with pytest.raises(StateError, match="the loader has continued elsewhere since this iterator was created"):
        next(older)
    loader.load_state_dict(loader.state_dict())
    with pytest.raises(StateError, match="use one iterator at a time, and a new one after loading"):
        next(newer)
    next(iter(loader))
    assert str(loader.last_batch_info).startswith("batch 2 ")


def test_states_of_ranks_merge_to_a_state_that_any_topology_loads(stream: SFTStream) -> None:
    loaders = rank_loaders(stream, 4)
    batches = [read(loader, 5) for loader in loaders]
    state = merge_states([loader.state_dict() for loader in reversed(loaders)])
    whole = stream_of(epochs=None).loader()
    expected = read(whole, 20)
    assert all(map(equal, expected, chain(*zip(*batches, strict=True))))
    assert len(expected) == sum(map(len, batches))
    assert state == whole.state_dict()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda states: states[:3],
            r"lane 3 is in no state \(6 of 24 lanes are missing\); pass the state of every rank",
        ),
        (lambda states: [*states, states[0]], r"lane 0 is in two states"),
        (lambda states: [*states[:3], {**states[3], "batch": 24}], r"different moments: batch 20 and 24.*same batch"),
        (lambda states: [], "got no state"),
        (lambda states: [states[0], None], "a state is the dict that"),
        (
            lambda states: [*states[:3], {**states[3], "fingerprint": {**states[3]["fingerprint"], "seed": 5}}],
            "different streams: seed was 5 and is 0",
        ),
    ],
)
def test_states_that_cannot_be_merged_are_an_error(stream: SFTStream, spoil: Any, message: str) -> None:
    loaders = rank_loaders(stream, 4)
    for loader in loaders:
        read(loader, 5)
    with pytest.raises(StateError, match=message):
        merge_states(spoil([loader.state_dict() for loader in loaders]))


def test_the_state_of_one_rank_is_enough_on_the_same_topology_only(stream: SFTStream) -> None:
    first = stream.loader(rank=1, world_size=2)
    read(first, 7)
    again = stream_of(epochs=None).loader(rank=1, world_size=2)
    again.load_state_dict(first.state_dict())
    assert equal(read(first, 3)[-1], read(again, 3)[-1])
    with pytest.raises(StateError, match=r"holds 12 of 24 lanes, and this rank needs lane 0.*merge_states"):
        stream_of(epochs=None).loader().load_state_dict(first.state_dict())


CHANGES: dict[str, dict[str, Any]] = {
    "source": {"rows": make_rows(99)},
    "columns": {"source_config": {"columns": {"input": "response", "response": "input"}}},
    "prompt": {"prompt_config": {"kwargs": {"system_message": "Sum up"}}},
    "format": {"prompt_format_config": {"method": "VicunaFormat"}},
    "truncation": {"truncation_config": {"method": "right"}},
    "packing": {"buffer_size": 6},
    "batch_size": {"batch_size": 3},
    "shuffle": {"shuffle": False},
    "epochs": {"epochs": 2},
    "seed": {"seed": 1},
    "tokenizer": {"tokenizer_config": {"backend": "hf", "special_tokens_in_rows": "parse"}},
    "lanes": {"lanes": 12},
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_state_of_another_stream_is_an_error_that_names_the_difference(stream: SFTStream, field: str) -> None:
    state = stream.loader().state_dict()
    other = stream_of(**{"epochs": None, **CHANGES[field]}).loader()
    remedy = "set lanes: 24 in the config$" if field == "lanes" else "undo the change"
    message = rf"the state is of another stream: (source was .*, )?{field} was [^;]*; {remedy}"
    with pytest.raises(StateError, match=message):
        other.load_state_dict(state)
    if field != "lanes":
        other.load_state_dict(state, ignore=[field, "source"])
        read(other, 1)


def test_only_fields_of_the_fingerprint_can_be_ignored(stream: SFTStream) -> None:
    loader = stream.loader()
    for name in ("sed", "lanes"):
        with pytest.raises(StateError, match=rf"ignore=\['{name}'\]: {name} cannot be ignored; known: source, "):
            loader.load_state_dict(loader.state_dict(), ignore=[name])


def test_the_folder_of_the_rows_may_change(tmp_path: Path) -> None:
    rows = "".join(json.dumps(row) + "\n" for row in make_rows(60))
    states = []
    for number in range(2):
        folder = tmp_path / str(number) / "data"
        folder.mkdir(parents=True)
        (folder / "rows.jsonl").write_text(rows)
        config = {"method": "jsonl", "kwargs": {"path": str(folder / "rows.jsonl")}}
        loader = make_stream(source_config=config, lanes=6).loader()
        states.append(loader.state_dict())
    assert states[0] == states[1]


def test_a_state_with_auto_lanes_keeps_its_lanes_on_another_topology() -> None:
    rows = make_rows(600) * 5
    three = make_stream(rows, epochs=None).loader(rank=0, world_size=1)
    assert three.state_dict()["fingerprint"]["lanes"] == 4
    state = three.state_dict()
    two = make_stream(rows, epochs=None).loader(rank=1, world_size=2)
    two.load_state_dict(state)
    assert two.state_dict()["fingerprint"]["lanes"] == 4
    with pytest.raises(TopologyError, match=r"4 lanes cannot be shared evenly by 3 ranks; use 1, 2, 4 ranks"):
        make_stream(rows, epochs=None).loader(rank=0, world_size=3).load_state_dict(state)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else []
    return [(*path, key) for key, _ in inside] + [p for key, child in inside for p in paths_of(child, (*path, key))]


def test_a_state_with_a_missing_value_is_torn(stream: SFTStream) -> None:
    loader = stream.loader()
    read(loader, 30)
    state = loader.state_dict()
    for path in paths_of(state):
        if path[0] in ("stats", "fingerprint") and len(path) > 1 and path[1] != "lanes":
            continue
        torn = copy.deepcopy(state)
        inside = torn
        for key in path[:-1]:
            inside = inside[key]
        del inside[path[-1]]
        with pytest.raises(StateError):
            loader.load_state_dict(torn)
    assert loader.state_dict() == state


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("lanes", "0", field), value)
        for field in ("epoch", "shard", "row")
        for value in (1.5, float("nan"), -1, True, "2", None, 10**30)
    ]
    + [
        (("lanes", "0", "waiting"), value)
        for value in ([1.7], ["2"], "123", [0], [0, 0], [3, 0, 5], [-1, 5], [2**40], None)
    ]
    + [(("lanes", "0", "stats"), value) for value in (["x"], "ab", [1] * 99, None)]
    + [
        (("lanes", "0", "row"), 10**6),
        (("stats", "examples"), "x"),
        (("batch",), 1.0),
        (("version",), 2),
        (("version",), 4),
    ]
    + [
        (("lanes", "0", "epoch"), 2**62),
        (("epoch_run", "batch"), 10**6),
        (("fingerprint", "lanes"), "24"),
        (("lanes", "02"), {}),
        (("lanes", "99"), {}),
    ],
)
def test_a_state_with_an_impossible_value_is_refused(stream: SFTStream, path: tuple[str, ...], value: Any) -> None:
    loader = stream.loader()
    read(loader, 30)
    state = copy.deepcopy(loader.state_dict())
    inside = state
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    with pytest.raises(StateError):
        loader.load_state_dict(state)


def test_a_state_without_lanes_or_with_too_deep_children_is_torn() -> None:
    loader = make_stream(make_rows(600), lanes="auto", epochs=None).loader()
    state = loader.state_dict()
    with pytest.raises(StateError, match="the state is torn: ValueError: it has no lanes"):
        loader.load_state_dict({**state, "lanes": {}, "fingerprint": {**state["fingerprint"], "lanes": 0}})
    deep = dict(state["lanes"]["0"])
    for _ in range(3000):
        deep = {**state["lanes"]["0"], "children": [{**deep, "drawn": 0, "ended": 0}]}
    with pytest.raises(StateError, match="the state is torn: RecursionError"):
        loader.load_state_dict({**state, "lanes": {"0": deep}})


def test_a_fingerprint_with_a_billion_lanes_is_refused_quickly(stream: SFTStream) -> None:
    state = stream.loader().state_dict()
    state["fingerprint"]["lanes"] = 10**9
    with pytest.raises(StateError, match=r"lane 24 is in no state \(999999976 of 1000000000 lanes are missing\)"):
        merge_states([state])


def test_a_batch_that_failed_before_delivery_is_not_counted(stream: SFTStream, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = stream.loader()
    read(loader, 2)
    monkeypatch.setattr(loader.collator, "collate", lambda batch: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        next(iter(loader))
    assert loader.state_dict()["batch"] == 2


def test_before_the_first_batch_there_is_no_batch_info(stream: SFTStream) -> None:
    loader = stream.loader()
    with pytest.raises(StateError, match="no batch was delivered yet"):
        _ = loader.last_batch_info
    read(loader, 3)
    loader.load_state_dict(loader.state_dict())
    with pytest.raises(StateError, match="no batch was delivered yet"):
        _ = loader.last_batch_info


@pytest.mark.parametrize("value", [None, [], "{}", 3, {"version": VERSION}, {"version": VERSION, "batch": "x"}])
def test_a_value_that_is_not_a_state_is_refused(stream: SFTStream, value: Any) -> None:
    with pytest.raises(StateError):
        stream.loader().load_state_dict(value)


@pytest.mark.parametrize("version", [1, 2])
def test_a_state_of_an_older_version_is_refused_with_the_reason(stream: SFTStream, version: int) -> None:
    """Its waiting lists count rows, so that reading it would lose or repeat examples."""
    state = {**stream.loader().state_dict(), "version": version}
    state["pass"] = state.pop("epoch_run")
    message = (
        rf"the state has version {version} .*, and this release reads version 3 \(older versions count rows, and "
        r"version 3 counts examples\); finish the run with the release that wrote the state, or start a new run"
    )
    with pytest.raises(StateError, match=message):
        stream.loader().load_state_dict(state)
    with pytest.raises(StateError, match=message):
        merge_states([state])


@pytest.mark.parametrize("version", [4, "3", None])
def test_a_state_of_an_unknown_version_is_refused(stream: SFTStream, version: Any) -> None:
    with pytest.raises(StateError, match=r"the state has version .*, and this release reads version 3; finish the run"):
        stream.loader().load_state_dict({**stream.loader().state_dict(), "version": version})


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
def test_torch_distributed_checkpoint_saves_and_loads_it(stream: SFTStream, tmp_path: Path) -> None:
    loader = stream.loader()
    read(loader, 40)
    dcp.save({"data": loader.state_dict()}, checkpoint_id=tmp_path)
    for ranks in (1, 3):
        tails = []
        for other in rank_loaders(stream_of(epochs=None), ranks):
            state = {"data": other.state_dict()}
            dcp.load(state, checkpoint_id=tmp_path)
            other.load_state_dict(state["data"])
            tails.append(read(other, 12 // ranks))
        batches = sorted((batch for tail in tails for batch in tail), key=lambda batch: int(batch["info"].split()[1]))
        expected = stream_of(epochs=None).loader()
        expected.load_state_dict(loader.state_dict())
        assert len(batches) == 12
        assert all(map(equal, batches, read(expected, 12)))


def test_a_state_of_24_lanes_and_64_rows_each_stays_under_8_kb() -> None:
    rows = make_rows(600) * 20
    loader = make_stream(rows, epochs=None, lanes=24, buffer_size=64, max_length=64, batch_size=8).loader()
    sizes = []
    for _ in islice(loader, 600):
        sizes.append(len(json.dumps(loader.state_dict())))
    assert max(sizes) < 8192
