"""Examples and chunks: which tokens have a label, and what stays when examples are selected."""

from itertools import accumulate, chain, compress, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.values.arrays import offsets_of
from samsum_stream.values.examples import EXAMPLE_RECORD, IGNORE_INDEX, Chunk, Event, Example, trained_mask
from samsum_stream.values.rows import RowPosition

Span = tuple[int, int]
Shape = tuple[int, list[Span]]
"""The length of an example, and its trained spans."""


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """An example of up to 12 tokens with ascending spans, some of which are empty or touch each other."""
    length = draw(st.integers(0, 12))
    borders = sorted(draw(st.lists(st.integers(0, length), max_size=8)))
    return length, list(zip(borders[::2], borders[1::2], strict=False))


def mask_of(length: int, spans: list[Span]) -> list[bool]:
    """The mask of an example, token by token."""
    return [token > 0 and any(start <= token < end for start, end in spans) for token in range(length)]


def spans_array(spans: list[Span]) -> np.ndarray:
    return np.array(spans, np.int32).reshape(-1, 2)


@given(st.lists(shapes(), max_size=6))
def test_the_mask_is_that_of_each_example_without_its_first_token(examples: list[Shape]) -> None:
    spans = spans_array(list(chain(*(spans for _, spans in examples))))
    offsets = offsets_of([length for length, _ in examples])
    num_spans = np.array([len(spans) for _, spans in examples], np.int32)
    mask = trained_mask(spans, offsets=offsets, num_spans=num_spans)
    assert mask.dtype == np.bool_
    assert mask.tolist() == list(chain(*(mask_of(length, spans) for length, spans in examples)))


@pytest.mark.parametrize(
    ("length", "spans", "mask"),
    [
        (4, [(2, 4)], [0, 0, 1, 1]),
        (4, [(0, 4)], [0, 1, 1, 1]),
        (4, [(0, 1)], [0, 0, 0, 0]),
        (5, [(0, 2), (3, 4)], [0, 1, 0, 1, 0]),
        (4, [(1, 2), (2, 4)], [0, 1, 1, 1]),
        (3, [], [0, 0, 0]),
        (1, [(0, 1)], [0]),
    ],
)
def test_the_first_token_has_no_label(length: int, spans: list[Span], mask: list[int]) -> None:
    example = Example(np.arange(10, 10 + length, dtype=np.int32), spans_array(spans), RowPosition("rows", "", 0, 0))
    assert example.trained.tolist() == [bool(number) for number in mask]
    assert example.labels.tolist() == [10 + token if mask[token] else IGNORE_INDEX for token in range(length)]
    assert example.labels.dtype == np.int32
    assert repr(example) == f"<Example: rows:0 (epoch 0), {length} tokens, {sum(mask)} trained>"


def chunk_of(examples: list[Shape]) -> Chunk:
    """Two examples for each row."""
    records = np.zeros(len(examples), EXAMPLE_RECORD)
    records["length"] = [length for length, _ in examples]
    records["num_spans"] = [len(spans) for _, spans in examples]
    records["part"] = np.arange(len(examples)) % 2
    starts = [0, *accumulate(length for length, _ in examples)]
    ids = [np.arange(start, end, dtype=np.int32).tobytes() for start, end in pairwise(starts)]
    spans = spans_array(list(chain(*(spans for _, spans in examples))))
    rows = np.arange(len(examples)) // 2
    return Chunk(ids, spans, records, rows, np.bincount(rows), (Event(0, 0, "truncated.input"),))


@given(st.lists(shapes(), max_size=6))
def test_a_chunk_gives_the_mask_and_the_bytes_of_each_example(examples: list[Shape]) -> None:
    chunk = chunk_of(examples)
    assert len(chunk) == len(examples)
    assert chunk.num_trained.tolist() == [sum(mask_of(*example)) for example in examples]
    assert [np.frombuffer(spans, np.int32).reshape(-1, 2).tolist() for spans in chunk.span_bytes()] == [
        [list(span) for span in spans] for _, spans in examples
    ]
    restored = np.frombuffer(b"".join(chunk.record_bytes()), EXAMPLE_RECORD)
    np.testing.assert_array_equal(restored, chunk.records)
    assert chunk.tokens.ids.tolist() == list(range(sum(length for length, _ in examples)))
    assert chunk.tokens.lengths.tolist() == [length for length, _ in examples]


@given(st.lists(st.tuples(shapes(), st.booleans()), max_size=6))
def test_selected_examples_keep_what_is_theirs(examples: list[tuple[Shape, bool]]) -> None:
    all_shapes, kept = [shape for shape, _ in examples], [is_kept for _, is_kept in examples]
    chunk = chunk_of(all_shapes)
    selected = chunk.select(np.array(kept, np.bool_))
    assert len(selected) == sum(kept)
    assert selected.ids == list(compress(chunk.ids, kept))
    assert selected.span_bytes() == list(compress(chunk.span_bytes(), kept))
    assert selected.record_bytes() == list(compress(chunk.record_bytes(), kept))
    assert selected.rows.tolist() == list(compress(chunk.rows.tolist(), kept))
    assert (selected.num_rendered.tolist(), selected.events) == (chunk.num_rendered.tolist(), chunk.events)
