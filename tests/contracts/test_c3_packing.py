"""C3: whole examples, never split, never reordered inside, at most `max_length` tokens a pack."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream import SFTStream
from samsum_stream.batching.packing import PACKERS
from tests.real_data import FOLDER, load_tokenizer, needs_real_data
from tests.streams import make_items, make_stream, row_of

METHODS = pytest.mark.parametrize("method", sorted(PACKERS))

MAX_LENGTH = 30
LENGTHS = st.lists(st.integers(1, MAX_LENGTH), max_size=80)


def worked_example(method: str) -> dict[str, torch.Tensor]:
    """Rows of 4, 4 and 6 tokens, with bos and eos, through the whole stream."""
    rows = [
        {"input": "100", "response": "100"},
        {"input": "200", "response": "200"},
        {"input": "300 300", "response": "300 300"},
    ]
    stream = make_stream(rows, method=method, max_length=9, shuffle=False, lanes=1)
    [batch] = stream.loader()
    return batch


def test_greedy_gives_the_worked_example() -> None:
    batch = worked_example("greedy")
    assert batch["input_ids"].tolist() == [[1, 100, 100, 2, 1, 200, 200, 2, 0], [1, 300, 300, 300, 300, 2, 0, 0, 0]]
    ignored = -100
    assert batch["labels"].tolist() == [
        [ignored, ignored, 100, 2, ignored, ignored, 200, 2, ignored],
        [ignored, ignored, ignored, 300, 300, 2, ignored, ignored, ignored],
    ]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 0], [0, 1, 2, 3, 4, 5, 0, 0, 0]]


@pytest.mark.parametrize("method", ["best_fit", "first_fit"])
def test_the_other_methods_agree_on_the_worked_example(method: str) -> None:
    assert worked_example(method)["input_ids"].tolist() == worked_example("greedy")["input_ids"].tolist()


@METHODS
@given(lengths=LENGTHS, buffer_size=st.integers(1, 20))
def test_every_item_is_in_exactly_one_pack_whole_and_unchanged(
    method: str, lengths: list[int], buffer_size: int
) -> None:
    packs = list(PACKERS[method](max_length=MAX_LENGTH, buffer_size=buffer_size).pack(make_items(lengths)))
    assert all(packs), "an empty pack"
    packed = sorted((item for pack in packs for item in pack), key=row_of)
    assert [row_of(item) for item in packed] == list(range(len(lengths)))
    for item, original in zip(packed, make_items(lengths), strict=True):
        assert item == original


@METHODS
@given(lengths=LENGTHS, buffer_size=st.integers(1, 20))
def test_no_pack_is_longer_than_max_length(method: str, lengths: list[int], buffer_size: int) -> None:
    for pack in PACKERS[method](max_length=MAX_LENGTH, buffer_size=buffer_size).pack(make_items(lengths)):
        assert sum(len(item[2]) // 4 for item in pack) <= MAX_LENGTH


@given(lengths=LENGTHS)
def test_greedy_keeps_the_order_of_the_items_and_never_closes_a_pack_too_early(lengths: list[int]) -> None:
    packs = list(PACKERS["greedy"](max_length=MAX_LENGTH, buffer_size=1).pack(make_items(lengths)))
    assert [row_of(item) for pack in packs for item in pack] == list(range(len(lengths)))
    for pack, following in pairwise(packs):
        assert sum(item[0] for item in pack) + following[0][0] > MAX_LENGTH


@given(lengths=LENGTHS, buffer_size=st.integers(1, 20))
def test_first_fit_fills_the_first_open_pack_with_room(lengths: list[int], buffer_size: int) -> None:
    """The same method in its simplest form: a pack is open until the buffer is full."""
    expected, is_open = [], []
    for row, length in enumerate(lengths):
        fitting = [
            number
            for number, rows in enumerate(expected)
            if is_open[number] and sum(lengths[r] for r in rows) + length <= MAX_LENGTH
        ]
        if fitting:
            expected[fitting[0]].append(row)
        else:
            expected.append([row])
            is_open.append(True)
        if sum(len(rows) for number, rows in enumerate(expected) if is_open[number]) > buffer_size:
            is_open[is_open.index(True)] = False
    packs = PACKERS["first_fit"](max_length=MAX_LENGTH, buffer_size=buffer_size).pack(make_items(lengths))
    assert [[row_of(item) for item in pack] for pack in packs] == expected


@given(lengths=LENGTHS, buffer_size=st.integers(1, 20))
def test_best_fit_puts_the_oldest_waiting_item_into_every_pack(lengths: list[int], buffer_size: int) -> None:
    waiting = set(range(len(lengths)))
    for pack in PACKERS["best_fit"](max_length=MAX_LENGTH, buffer_size=buffer_size).pack(make_items(lengths)):
        rows = [row_of(item) for item in pack]
        assert rows[0] == min(waiting)
        waiting -= set(rows)


@given(lengths=LENGTHS, buffer_size=st.integers(1, 20))
def test_best_fit_lets_no_item_wait_longer_than_buffer_size_packs(lengths: list[int], buffer_size: int) -> None:
    """An item waits from the time when it is read, at the latest until a younger item is packed."""
    packs = PACKERS["best_fit"](max_length=MAX_LENGTH, buffer_size=buffer_size).pack(make_items(lengths))
    pack_of = {row_of(item): number for number, pack in enumerate(packs) for item in pack}
    for row, number in pack_of.items():
        read_at = min((pack_of[younger] for younger in range(row, len(lengths))), default=number)
        assert number - read_at <= buffer_size


@needs_real_data
def test_best_fit_wastes_less_than_a_thousandth_of_samsum_at_2048() -> None:
    stream = make_samsum_stream("best_fit")
    packs = list(stream)
    assert all(pack.num_tokens <= 2048 for pack in packs)
    assert stream.stats.rows == 14_732 == stream.stats.examples
    assert stream.stats.efficiency >= 0.999


@needs_real_data
@pytest.mark.slow
@METHODS
def test_no_method_loses_a_row_of_samsum(method: str) -> None:
    stream = make_samsum_stream(method)
    rows = sorted(example.position.row for pack in stream for example in pack.examples)
    assert rows == list(range(14_732))


def make_samsum_stream(method: str) -> SFTStream:
    config = {
        "source_config": {
            "method": "jsonl",
            "kwargs": {"path": str(FOLDER / "datasets/samsum/samsum.train.jsonl.gz")},
            "columns": {"input": "dialogue", "response": "summary"},
        },
        "prompt_config": {"method": "Prompt", "kwargs": {"response_template": "Summary: {text}"}},
        "packing_config": {"method": method, "kwargs": {"max_length": 2048, "buffer_size": 64}},
        "lanes": 1,
    }
    return SFTStream.from_config(config, tokenizer=load_tokenizer("gpt-neox-20b"))
