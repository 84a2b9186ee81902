"""Renderings with any number of runs to examples: ids, spans, eos, dropped and truncated examples."""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from samsum_stream.errors import RowError
from samsum_stream.prompts.segments import Pieces, fixed, from_row, text_of, trained
from samsum_stream.tokenization import ExampleTokenizer, HFBackend, RunEncoder, SpecialTokens, find_border
from samsum_stream.values.arrays import Ragged, offsets_of
from samsum_stream.values.examples import Chunk, Event
from samsum_stream.values.renderings import Renderings, Segment
from samsum_stream.values.rows import RowPosition
from tests.conftest import SMALL_TOKENIZER, altered
from tests.tokenization.test_tokenization import DUMMY_SPACE

BACKEND = HFBackend(Tokenizer.from_file(str(SMALL_TOKENIZER / "tokenizer.json")).to_str())
BOS, EOS = (BACKEND.tokenizer.token_to_id(text) for text in ("<|bos|>", "<|eos|>"))

CONVERSATION: Pieces = [
    fixed("USER: "),
    from_row("Who won?"),
    fixed("\nBOT:"),
    *trained([fixed(" "), from_row("Bob did")]),
    fixed("\nUSER: "),
    from_row("When?"),
    fixed("\nBOT:"),
    *trained([fixed(" "), from_row("On Sunday")]),
]
PLAIN: Pieces = trained([from_row("Only text")])
PROMPT_ONLY: Pieces = [fixed("USER: "), from_row("Who won?")]
ENDS_UNTRAINED: Pieces = [*CONVERSATION, fixed("\nTHE END")]


def make_tokenizer(
    backend: HFBackend = BACKEND, *, max_length: int = 1000, truncation: str = "drop", policy: str = "text"
) -> ExampleTokenizer:
    border = find_border(backend)
    runs = RunEncoder(
        backend=backend,
        border=border,
        special_tokens=SpecialTokens(backend, border),
        policy=policy,  # type: ignore[arg-type]
        locate=lambda shard, row: RowPosition("rows", f"shard-{shard}", row, 0),
    )
    return ExampleTokenizer(runs, reference=backend, eos_token_id=EOS, max_length=max_length, truncation=truncation)


def renderings_of(rows: Sequence[Sequence[Pieces]]) -> Renderings:
    """The examples of each row; the rows have the numbers 10, 11, ... in shard 3."""
    examples = [segments for row in rows for segments in row]
    row_of = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    shards, numbers = np.full(len(rows), 3, np.int32), np.arange(10, 10 + len(rows))
    return Renderings.of_segments(examples, rows=row_of, shards=shards, numbers=numbers)


def encode(tokenizer: ExampleTokenizer, rows: Sequence[Sequence[Pieces]]) -> Chunk:
    return tokenizer.encode(renderings_of(rows), epoch=5)


def ids_of(chunk: Chunk) -> list[list[int]]:
    return [ids.tolist() for ids in chunk.tokens.split()]


def spans_of(chunk: Chunk) -> list[list[list[int]]]:
    return [spans.tolist() for spans in Ragged(chunk.spans, offsets_of(chunk.records["num_spans"])).split()]


def expected_of(segments: Sequence[Segment]) -> tuple[list[int], list[list[int]]]:
    """The ids and the spans of an example: each run is encoded on its own."""
    ids, spans, is_trained = [BOS], [], False
    for is_trained, run in groupby(segments, key=attrgetter("trained")):
        start = len(ids)
        ids += BACKEND.encode([text_of(run)]).ids.tolist()
        if is_trained:
            spans.append([start, len(ids)])
    if is_trained:
        ids.append(EOS)
        spans[-1][1] += 1
    return ids, spans


@pytest.mark.parametrize("segments", [CONVERSATION, PLAIN, ENDS_UNTRAINED])
def test_an_example_has_a_span_for_each_trained_run(segments: Pieces) -> None:
    chunk = encode(make_tokenizer(), [[segments]])
    assert (ids_of(chunk)[0], spans_of(chunk)[0]) == expected_of(segments)
    assert chunk.records["length"].tolist() == [len(ids_of(chunk)[0])]


def test_only_an_example_with_a_trained_end_has_an_eos() -> None:
    chunk = encode(make_tokenizer(), [[CONVERSATION, ENDS_UNTRAINED]])
    assert [ids.count(EOS) for ids in ids_of(chunk)] == [1, 0]
    assert [spans[-1][1] == len(ids) for ids, spans in zip(ids_of(chunk), spans_of(chunk), strict=True)] == [
        True,
        False,
    ]


segments_of_text = st.lists(
    st.builds(Segment, st.sampled_from(["", "Hi", " there", "\n", "é 日本", "7"]), st.booleans(), st.booleans()),
    max_size=6,
)


@given(st.lists(st.lists(segments_of_text, max_size=3), max_size=4))
def test_examples_of_rows_are_encoded_one_by_one(rows: list[list[Pieces]]) -> None:
    chunk = encode(make_tokenizer(), rows)
    expected = [
        (row, part, expected_of(segments)) for row, parts in enumerate(rows) for part, segments in enumerate(parts)
    ]
    has_label = {(row, part): any(end > max(start, 1) for start, end in spans) for row, part, (_, spans) in expected}
    kept = [(row, part, example) for row, part, example in expected if has_label[row, part]]
    assert list(zip(ids_of(chunk), spans_of(chunk), strict=True)) == [example for _, _, example in kept]
    assert chunk.rows.tolist() == [row for row, _, _ in kept]
    assert chunk.num_rendered.tolist() == list(map(len, rows))
    records = chunk.records
    assert records["part"].tolist() == [part for _, part, _ in kept]
    assert records["row"].tolist() == [10 + row for row, _, _ in kept]
    assert (set(records["shard"].tolist()), set(records["epoch"].tolist())) in (({3}, {5}), (set(), set()))
    dropped = [
        Event(row, part, "dropped.no_trained_token") for (row, part), is_kept in has_label.items() if not is_kept
    ]
    assert list(chunk.events) == dropped


def test_an_example_without_a_trained_run_is_dropped_and_counted() -> None:
    chunk = encode(make_tokenizer(), [[CONVERSATION], [PROMPT_ONLY, PLAIN], []])
    assert chunk.rows.tolist() == [0, 1]
    assert chunk.records["part"].tolist() == [0, 1]
    assert chunk.num_rendered.tolist() == [1, 2, 0]
    assert chunk.events == (Event(1, 0, "dropped.no_trained_token"),)


def test_long_examples_are_dropped_one_by_one() -> None:
    ids, _ = expected_of(PLAIN)
    chunk = encode(make_tokenizer(max_length=len(ids)), [[PLAIN, CONVERSATION, PLAIN]])
    assert ids_of(chunk) == [ids, ids]
    assert chunk.events == (Event(0, 1, "dropped.longer_than_max_length"),)
    assert chunk.num_rendered.tolist() == [3]


def test_cut_on_the_right_spans_end_with_the_ids_and_there_is_no_eos() -> None:
    ids, spans = expected_of(CONVERSATION)
    (_, first_end), (second_start, _) = spans
    for max_length in range(1, len(ids)):
        chunk = encode(make_tokenizer(max_length=max_length, truncation="right"), [[CONVERSATION]])
        expected = [[start, min(end, max_length)] for start, end in spans if start < max_length]
        assert spans_of(chunk) == ([expected] if expected else [])
        assert ids_of(chunk) == ([ids[:max_length]] if expected else [])
        assert chunk.events == (Event(0, 0, "truncated.right" if expected else "dropped.no_trained_token"),)
    assert first_end < second_start < len(ids)


def test_renderers_that_cannot_shorten_drop_long_examples() -> None:
    chunk = encode(make_tokenizer(max_length=8, truncation="input"), [[CONVERSATION]])
    assert chunk.events == (Event(0, 0, "dropped.longer_than_max_length"),)


def test_a_long_example_can_be_an_error_with_the_position_of_its_row() -> None:
    num_tokens = len(expected_of(CONVERSATION)[0])
    message = rf"rows/shard-3:11 \(epoch 0\): the row has {num_tokens} tokens and max_length is 8"
    with pytest.raises(RowError, match=message):
        encode(make_tokenizer(max_length=8, truncation="error"), [[PLAIN], [PLAIN, CONVERSATION]])


# ------------------------------------------------------------------------------------------------- special tokens


def spelling(run: int) -> Pieces:
    """The conversation with a special token in the row's text of a run."""
    numbers = [index for index, piece in enumerate(CONVERSATION) if piece.from_row]
    piece = CONVERSATION[numbers[run]]
    return [
        *CONVERSATION[: numbers[run]],
        piece._replace(text=f"a <|eos|> {piece.text}"),
        *CONVERSATION[numbers[run] + 1 :],
    ]


@pytest.mark.parametrize("run", range(4))
def test_a_row_cannot_write_a_special_token_in_any_run(run: int) -> None:
    segments = spelling(run)
    chunk = encode(make_tokenizer(), [[CONVERSATION, segments]])
    [_, ids] = ids_of(chunk)
    assert (ids.count(EOS), ids[-1]) == (1, EOS)
    assert BACKEND.tokenizer.decode(ids[1:-1], skip_special_tokens=False) == text_of(segments)
    assert chunk.events == (Event(0, 1, "special_tokens_in_rows"),)
    borders = [border for span in spans_of(chunk)[1] for border in span]
    runs = [text_of(pieces) for _, pieces in groupby(segments, key=attrgetter("trained"))]
    starts, ends = [1, *borders[:-1]], [*borders[:-1], len(ids) - 1]
    decoded = [
        BACKEND.tokenizer.decode(ids[start:end], skip_special_tokens=False)
        for start, end in zip(starts, ends, strict=True)
    ]
    assert decoded == runs


def test_a_row_that_spells_special_tokens_is_counted_once() -> None:
    chunk = encode(make_tokenizer(), [[CONVERSATION], [CONVERSATION, spelling(0), spelling(3)], [spelling(1)]])
    assert chunk.events == (Event(1, 1, "special_tokens_in_rows"), Event(2, 0, "special_tokens_in_rows"))


@pytest.mark.parametrize("run", range(4))
def test_a_special_token_in_any_run_can_be_an_error(run: int) -> None:
    with pytest.raises(RowError, match=r"rows/shard-3:11 \(epoch 0\): the row spells the special token '<\|eos\|>'"):
        encode(make_tokenizer(policy="error"), [[CONVERSATION], [PLAIN, spelling(run)]])


# ---------------------------------------------------------------------------------- tokenizers with a dummy space


@pytest.mark.parametrize("segments", [CONVERSATION, ENDS_UNTRAINED, spelling(1), spelling(2), spelling(3)])
def test_runs_in_the_middle_of_a_text_have_no_dummy_space(
    small_tokenizer: PreTrainedTokenizerBase, segments: Pieces
) -> None:
    backend = HFBackend(altered(small_tokenizer, pre_tokenizer=DUMMY_SPACE).backend_tokenizer.to_str())
    chunk = encode(make_tokenizer(backend), [[CONVERSATION, segments]])
    without_eos = [number for number in ids_of(chunk)[1] if number != EOS]
    assert BACKEND.tokenizer.decode(without_eos[1:]) == " " + text_of(segments)
