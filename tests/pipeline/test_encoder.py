"""Rows to numbered examples: every example has an index, and a row without an example has one as well."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.pipeline.encoder import EncodedRows
from samsum_stream.values.rows import BadRow, Instructions, RowPosition, Rows
from tests.pipeline.parts import NO_EXAMPLE, TOO_LONG, UNTRAINED, is_kept, make_parts_stream
from tests.streams import BOS, EOS

ENCODER = make_parts_stream([{"input": "10", "response": "11"}]).pipeline.encoder
BAD = None
"""A response of a bad row."""


def rows_of(responses: list[str | None]) -> Rows:
    """Rows with these responses, which have the numbers 100, 101, ... in their shard; None is a bad row."""
    valid = [index for index, response in enumerate(responses) if response is not BAD]
    skipped = [
        (index, BadRow(RowPosition("rows", "", 100 + index, 0), "response", "wrong_type"))
        for index, response in enumerate(responses)
        if response is BAD
    ]
    texts = [response for response in responses if response is not BAD]
    shards = np.zeros(len(valid), np.int32)
    return Rows(Instructions(["20"] * len(valid), texts), shards, 100 + np.array(valid, np.int64), tuple(skipped))


def encode(responses: list[str | None]) -> EncodedRows:
    return ENCODER.encode(rows_of(responses), epoch=3)


def test_bad_rows_and_rows_without_an_example_have_one_index() -> None:
    long_in_the_middle = f"31 | {TOO_LONG} | 32"
    encoded = encode(["21 | 22", BAD, NO_EXAMPLE, long_in_the_middle, UNTRAINED, "41"])
    assert encoded.offsets.tolist() == [0, 2, 3, 4, 7, 8, 9]
    assert encoded.indices.tolist() == [0, 1, 4, 6, 8]
    assert [outcome[:2] for outcome in encoded.outcomes] == [
        (2, "skipped.wrong_type"),
        (5, "dropped.longer_than_max_length"),
        (7, "dropped.no_trained_token"),
    ]
    assert [outcome.bad is not None for outcome in encoded.outcomes] == [True, False, False]
    assert encoded.outcomes[0].bad.position.row == 101
    records = encoded.chunk.records
    assert records["row"].tolist() == [100, 100, 103, 103, 105]
    assert records["part"].tolist() == [0, 1, 0, 2, 0]
    assert set(records["epoch"].tolist()) == {3}


def test_the_examples_of_a_row_are_those_of_its_parts() -> None:
    chunk = encode(["21 21 | 22"]).chunk
    assert [ids.tolist() for ids in chunk.tokens.split()] == [
        [BOS, 10, 20, 21, 21, 12, 13, EOS],
        [BOS, 10, 20, 22, 12, 13, EOS],
    ]
    assert chunk.spans.tolist() == [[3, 5], [6, 8], [3, 4], [5, 7]]
    assert ENCODER.prompt_ids(rows_of(["21 21 | 22"]), 0) == [BOS, 10, 20]


def test_rows_may_all_be_bad_or_have_no_example() -> None:
    for responses in ([BAD, BAD], [NO_EXAMPLE, NO_EXAMPLE]):
        encoded = encode(responses)
        assert (len(encoded.chunk), encoded.indices.tolist(), encoded.offsets.tolist()) == (0, [], [0, 1, 2])
    nothing = encode([])
    assert (nothing.indices.tolist(), nothing.offsets.tolist(), nothing.outcomes) == ([], [0], [])


PARTS = st.sampled_from(["21", "22 22", UNTRAINED, TOO_LONG])
RESPONSES = st.none() | st.lists(PARTS, max_size=3).map(lambda parts: " | ".join(parts) or NO_EXAMPLE)


@given(st.lists(RESPONSES, max_size=12))
def test_indices_count_the_examples_of_all_rows(responses: list[str | None]) -> None:
    encoded = encode(responses)
    indices, offsets, rows, outcomes = [], [0], [], []
    for row, response in enumerate(responses):
        parts = ["bad"] if response is BAD else response.split(" | ")
        for index, part in enumerate(parts, start=offsets[-1]):
            if response is BAD:
                outcomes.append((index, "skipped.wrong_type"))
            elif is_kept(part):
                indices.append(index)
                rows.append(100 + row)
            elif part != NO_EXAMPLE:
                reason = "no_trained_token" if part == UNTRAINED else "longer_than_max_length"
                outcomes.append((index, f"dropped.{reason}"))
        offsets.append(offsets[-1] + len(parts))
    assert encoded.indices.tolist() == indices
    assert encoded.offsets.tolist() == offsets
    assert encoded.chunk.records["row"].tolist() == rows
    assert [outcome[:2] for outcome in encoded.outcomes] == outcomes


@given(st.lists(RESPONSES, max_size=12), st.integers(0, 12))
def test_rows_that_are_encoded_in_two_chunks_have_the_same_examples(responses: list[str | None], cut: int) -> None:
    whole, first, second = encode(responses), encode(responses[:cut]), encode(responses[cut:])
    num_before = int(first.offsets[-1])
    assert whole.indices.tolist() == [*first.indices.tolist(), *(num_before + second.indices).tolist()]
    assert whole.offsets.tolist() == [*first.offsets.tolist(), *(num_before + second.offsets[1:]).tolist()]
    assert whole.chunk.ids == first.chunk.ids + second.chunk.ids
    assert whole.chunk.span_bytes() == first.chunk.span_bytes() + second.chunk.span_bytes()
