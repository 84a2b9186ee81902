"""C2: labels are the ids of the response and its end, and every row is an example or is counted as dropped."""

from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from samsum_stream import IGNORE_INDEX, SFTStream
from samsum_stream.errors import RowError
from samsum_stream.loader.stats import Stats
from samsum_stream.prompts import FORMATS
from samsum_stream.prompts.shortening import SHORTENERS
from samsum_stream.sources import as_source
from samsum_stream.tokenization import truncation
from samsum_stream.values.arrays import Ragged, offsets_of
from samsum_stream.values.counts import COUNTED, Counts
from samsum_stream.values.examples import Example
from tests.conftest import SMALL_TOKENIZER

NO_LIMIT = 100_000
FIRST_TOKEN = 12
"""An upper bound for the tokens of the shortest start of an input; a row is dropped if no start of its input fits."""
PROMPT = {"input_template": "Conversation: {text}", "response_template": "Summary: {text}"}
Row = dict[str, Any]

words = st.lists(
    st.sampled_from(["Hi", "tomorrow", "naïve", "日本", "👩‍👩‍👧", "42", "\n", "  ", "Bob: ok", "x"]), max_size=24
)
texts = words.map(" ".join) | st.text(st.characters(codec="utf-8"), max_size=40)
rows_of_any_kind = st.fixed_dictionaries(
    {"input": texts, "contexts": st.lists(texts, max_size=3), "response": texts.filter(str.strip)}
)


METHODS = sorted({*truncation.METHODS, *SHORTENERS} - {"split"})  # only texts are split


@cache
def make_stream(*, style: str = "VicunaFormat", method: str = "drop", max_length: int = NO_LIMIT) -> SFTStream:
    config = {
        "prompt_config": {"kwargs": PROMPT},
        "prompt_format_config": {"method": style},
        "tokenizer_config": {"backend": "hf"},
        "packing_config": {"kwargs": {"max_length": max_length}},
        "truncation_config": {"method": method},
    }
    probe = [{"input": "Hi", "response": "Yes"}]
    return SFTStream.from_config(config, rows=probe, tokenizer=AutoTokenizer.from_pretrained(SMALL_TOKENIZER))


def encode(stream: SFTStream, rows: list[Row]) -> tuple[list[Example], Stats]:
    """The examples of `rows`, and the counts of drops and truncations."""
    source, stats = as_source(rows, name="rows", columns={}), Stats()
    encoded = stream.pipeline.encoder.encode(source.take(np.arange(len(rows))), epoch=0)
    chunk, stats.counts = encoded.chunk, Counts(outcome.name for outcome in encoded.outcomes)
    spans = Ragged(chunk.spans, offsets_of(chunk.records["num_spans"])).split()
    positions = [source.position(0, row, 0) for row in chunk.records["row"].tolist()]
    return list(map(Example, chunk.tokens.split(), spans, positions)), stats


def whole(row: Row) -> tuple[list[int], int]:
    """The ids of a row without a limit, and the number of ids of its prompt."""
    (example,), _ = encode(make_stream(), [row])
    return example.input_ids.tolist(), len(make_stream().inference_ids(row))


def starts_of(text: str) -> list[str]:
    """Every prefix of a text, from the empty prefix on."""
    return ["", *accumulate(text)]


def shorter_inputs(row: Row) -> list[Row]:
    return [{**row, "input": start} for start in starts_of(row["input"])]


def shorter_contexts(row: Row) -> list[Row]:
    """The row with fewer contexts or a shorter last context, and without contexts and with a shorter input."""
    kept = [[*row["contexts"][:n], start] for n, last in enumerate(row["contexts"]) for start in starts_of(last)]
    return [*({**row, "contexts": contexts} for contexts in kept), *shorter_inputs({**row, "contexts": []})]


class TestLabels:
    @pytest.mark.parametrize("style", FORMATS)
    @settings(max_examples=20)
    @given(row=rows_of_any_kind)
    def test_are_the_ids_of_the_response_its_suffix_and_the_eos(self, style: str, row: Row) -> None:
        stream = make_stream(style=style)
        prompt, tokenizer = stream.inference_prompt(row), stream.tokenizer
        response = stream.render(row)[len(prompt) :]
        prompt_ids = tokenizer(prompt)["input_ids"]
        completion_ids = [*tokenizer(response, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        (example,), _ = encode(stream, [row])
        assert example.input_ids.tolist() == prompt_ids + completion_ids
        assert example.labels.tolist() == [IGNORE_INDEX] * len(prompt_ids) + completion_ids

    def test_leave_out_the_first_token(self, bare_tokenizer: PreTrainedTokenizerBase) -> None:
        rows = [{"input": "", "response": "Hi there"}]
        stream = SFTStream.from_config({"tokenizer_config": {"backend": "hf"}}, rows=rows, tokenizer=bare_tokenizer)
        (example,) = next(iter(stream)).examples
        assert stream.inference_ids(rows[0]) == []
        assert example.labels.tolist() == [IGNORE_INDEX, *example.input_ids.tolist()[1:]]

    def test_train_the_end_of_turn_marker(self) -> None:
        stream = make_stream(style="ChatMLFormat")
        (example,), _ = encode(stream, [{"input": "Hi", "response": "Yes"}])
        trained = example.labels[example.labels != IGNORE_INDEX]
        assert stream.tokenizer.decode(trained) == " Yes<|im_end|><|eos|>"

    def test_train_the_eos_if_it_is_also_the_pad_token(self, bare_tokenizer: PreTrainedTokenizerBase) -> None:
        bare_tokenizer.pad_token = bare_tokenizer.eos_token
        rows = [{"input": "Hi", "response": "Yes"}, {"input": "Hi", "response": "Yes, of course, tomorrow"}]
        config = {"tokenizer_config": {"backend": "hf"}, "collator_config": {"method": "padded"}, "shuffle": False}
        stream = SFTStream.from_config(config, rows=rows, tokenizer=bare_tokenizer)
        batch = stream.collator(list(stream))
        real = batch["attention_mask"].sum(dim=1).tolist()
        assert real[0] < real[1]
        for ids, labels, length in zip(batch["input_ids"], batch["labels"], real, strict=True):
            assert labels[length - 1] == ids[length - 1] == bare_tokenizer.eos_token_id
            assert labels[length:].eq(IGNORE_INDEX).all()


class TestTruncation:
    @pytest.mark.parametrize("method", METHODS)
    @settings(max_examples=40)
    @given(rows=st.lists(rows_of_any_kind, min_size=1, max_size=6), max_length=st.integers(1, 80))
    def test_every_row_is_an_example_or_a_counted_drop(self, method: str, rows: list[Row], max_length: int) -> None:
        examples, stats = encode(make_stream(method=method, max_length=max_length), rows)
        assert len(rows) == len(examples) + stats.dropped.total()
        for example in examples:
            assert len(example.input_ids) <= max_length
            assert example.labels[0] == IGNORE_INDEX
            assert (example.labels != IGNORE_INDEX).any()

    @pytest.mark.parametrize("method", METHODS)
    @settings(max_examples=40)
    @given(rows=st.lists(rows_of_any_kind, min_size=1, max_size=6), max_length=st.integers(1, 80))
    def test_examples_and_outcomes_have_the_index_of_their_row(
        self, method: str, rows: list[Row], max_length: int
    ) -> None:
        encoder = make_stream(method=method, max_length=max_length).pipeline.encoder
        source = as_source(rows, name="rows", columns={})
        chunk, indices, _, outcomes = encoder.encode(source.take(np.arange(len(rows))), epoch=0)
        kept = indices.tolist()
        dropped = [outcome.example for outcome in outcomes if outcome.name.startswith("dropped.")]
        assert chunk.records["row"].tolist() == kept == sorted(kept)
        assert sorted(kept + dropped) == list(range(len(rows)))
        assert {outcome.name for outcome in outcomes} <= set(COUNTED)
        for index in range(len(rows)):
            single = encoder.encode(source.take(np.array([index])), epoch=0)
            names = [outcome.name for outcome in outcomes if outcome.example == index]
            assert [outcome.name for outcome in single.outcomes] == names
            assert len(single.chunk) == (index in kept)

    @pytest.mark.parametrize("method", METHODS)
    @settings(max_examples=30)
    @given(row=rows_of_any_kind)
    def test_a_row_that_fits_exactly_is_not_changed(self, method: str, row: Row) -> None:
        ids, _ = whole(row)
        (example,), stats = encode(make_stream(method=method, max_length=len(ids)), [row])
        assert example.input_ids.tolist() == ids
        assert not stats.counts

    @settings(max_examples=40)
    @given(row=rows_of_any_kind, data=st.data())
    def test_drop_drops_longer_rows(self, row: Row, data: st.DataObject) -> None:
        max_length = data.draw(st.integers(1, len(whole(row)[0]) - 1))
        examples, stats = encode(make_stream(method="drop", max_length=max_length), [row])
        assert (examples, dict(stats.dropped)) == ([], {"longer_than_max_length": 1})

    @pytest.mark.parametrize(("method", "shorter"), [("input", shorter_inputs), ("contexts", shorter_contexts)])
    @settings(max_examples=40)
    @given(row=rows_of_any_kind, data=st.data())
    def test_a_shortened_row_is_a_whole_row_with_less_text(
        self, method: str, shorter: Callable[[Row], list[Row]], row: Row, data: st.DataObject
    ) -> None:
        max_length = data.draw(st.integers(1, len(whole(row)[0]) - 1))
        examples, stats = encode(make_stream(method=method, max_length=max_length), [row])
        possible = [whole(candidate)[0] for candidate in shorter(row)]
        if examples:
            assert examples[0].input_ids.tolist() in possible
            assert len(examples[0].input_ids) <= max_length
            assert stats.truncated
            assert not stats.dropped
        else:
            assert dict(stats.dropped) == {"longer_than_max_length": 1}
            kept = [candidate for candidate in shorter(row) if candidate["input"].strip() or not row["input"].strip()]
            assert all(len(whole(candidate)[0]) + FIRST_TOKEN > max_length for candidate in kept)

    @settings(max_examples=60)
    @given(row=rows_of_any_kind, data=st.data())
    def test_right_cuts_tokens_and_adds_no_eos(self, row: Row, data: st.DataObject) -> None:
        ids, num_prompt_tokens = whole(row)
        max_length = data.draw(st.integers(1, len(ids) - 1))
        examples, stats = encode(make_stream(method="right", max_length=max_length), [row])
        if max_length > num_prompt_tokens:
            assert examples[0].input_ids.tolist() == ids[:max_length]
            assert (dict(stats.truncated), stats.dropped.total()) == ({"right": 1}, 0)
        else:
            assert (examples, dict(stats.dropped)) == ([], {"no_trained_token": 1})

    def test_right_drops_a_row_whose_only_trained_token_would_be_the_first(
        self, bare_tokenizer: PreTrainedTokenizerBase
    ) -> None:
        config = {
            "tokenizer_config": {"backend": "hf"},
            "packing_config": {"kwargs": {"max_length": 1}},
            "truncation_config": {"method": "right"},
        }
        rows = [{"input": "", "response": "Hi there"}]
        stream = SFTStream.from_config(config, rows=rows, tokenizer=bare_tokenizer)
        examples, stats = encode(stream, rows)
        assert (examples, dict(stats.dropped)) == ([], {"no_trained_token": 1})

    def test_error_names_the_row_and_both_numbers(self) -> None:
        rows = [{"input": "Hi", "response": "Yes"}, {"input": "Hi " * 50, "response": "Yes"}]
        num_tokens = len(whole(rows[1])[0])
        with pytest.raises(
            RowError, match=rf"^rows:1 \(epoch 0\): the row has {num_tokens} tokens .* is 40.* input or"
        ):
            encode(make_stream(method="error", max_length=40), rows)

    def test_the_last_context_is_cut_first_and_the_input_is_kept(self) -> None:
        row = {"input": "Who won?", "contexts": ["one " * 20, "two " * 20], "response": "Bob"}
        one_context = len(whole({**row, "contexts": row["contexts"][:1]})[0])
        stream = make_stream(method="contexts", max_length=one_context + 10)
        (example,), stats = encode(stream, [row])
        prompt = stream.tokenizer.decode(example.input_ids[: example.spans[0, 0]], skip_special_tokens=True)
        assert dict(stats.truncated) == {"contexts": 1}
        assert (prompt.count("one"), prompt.count("Who won?")) == (20, 1)
        assert 0 < prompt.count("two") < 20

    def test_the_input_is_cut_if_dropping_all_contexts_is_not_enough(self) -> None:
        row = {"input": "long " * 50, "contexts": ["one"], "response": "Bob"}
        (example,), stats = encode(make_stream(method="contexts", max_length=50), [row])
        assert dict(stats.truncated) == {"contexts": 1, "input": 1}
        assert 45 <= len(example.input_ids) <= 50

    @pytest.mark.parametrize("method", METHODS)
    def test_the_stream_counts_rows_and_examples(self, method: str) -> None:
        rows = [{"input": f"{n} " * n, "contexts": ["and " * n], "response": f"yes {n} " * n} for n in range(1, 60)]
        config = {
            "prompt_config": {"kwargs": PROMPT},
            "packing_config": {"kwargs": {"max_length": 128}},
            "truncation_config": {"method": method},
        }
        tokenizer = AutoTokenizer.from_pretrained(SMALL_TOKENIZER)
        stream = SFTStream.from_config(config, rows=rows, tokenizer=tokenizer)
        read = [example.position.row for pack in stream for example in pack.examples]
        assert len(set(read)) == len(read) == stream.stats.examples
        assert stream.stats.rows == len(rows) == len(read) + stream.stats.dropped.total()
        assert stream.stats.dropped.total() > 0 or stream.stats.truncated.total() > 0
