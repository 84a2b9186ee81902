"""Rows of ids: what is trained, where documents end, and which rows are bad."""

from typing import Any

import datasets
import numpy as np
import pytest

from samsum_stream import ConfigError, RowError, SFTStream, SourceError
from tests.streams import make_stream

BOS, EOS = 0, 1


@pytest.fixture(scope="module")
def special() -> tuple[int, int]:
    """The bos and the eos of the tokenizer of the tests."""
    tokenizer = make_stream([{"text": "11"}]).tokenizer
    return tokenizer.bos_token_id, tokenizer.eos_token_id


def documents(rows: Any, **changes: Any) -> list[tuple[list[int], list[int]]]:
    """The ids and the labels of each document, in the order of the rows."""
    stream = make_stream(rows, shuffle=False, lanes=1, epochs=1, **changes)
    examples = [example for pack in stream for example in pack.examples]
    examples.sort(key=lambda example: (example.position.row, example.position.part))
    return [(example.input_ids.tolist(), example.labels.tolist()) for example in examples]


def error_of(row: dict[str, Any], **changes: Any) -> str:
    with pytest.raises((RowError, SourceError)) as caught:
        documents([row], **changes)
    return str(caught.value)


def test_ids_are_used_unchanged_and_all_are_trained_but_the_first() -> None:
    assert documents([{"input_ids": [21, 22, 23]}]) == [([21, 22, 23], [-100, 22, 23])]


@pytest.mark.parametrize(
    "trained",
    [
        {"labels": [-100, 22, -100, 24]},
        {"assistant_masks": [0, 1, 0, 1]},
        {"completion_mask": [0, 1, 0, 1]},
        {"loss_mask": [False, True, False, True]},
        {"labels": [21, 22, 23, 24], "completion_mask": [0, 1, 1, 1], "assistant_masks": [1, 1, 0, 1]},
    ],
)
def test_labels_and_masks_say_what_is_trained(trained: dict[str, Any]) -> None:
    assert documents([{"input_ids": [21, 22, 23, 24], **trained}]) == [([21, 22, 23, 24], [-100, 22, -100, 24])]


def test_rows_of_a_chunk_may_have_different_fields_and_lengths() -> None:
    rows = [
        {"input_ids": [21, 22], "labels": None},
        {"input_ids": [31, 32, 33], "labels": [-100, -100, 33]},
        {"input_ids": [41, 42, 43, 0], "labels": [41, 42, 43, -100], "attention_mask": [1, 1, 1, 0]},
        {"input_ids": [51, 52, 53], "seq_lengths": [1, 2]},
    ]
    expected = [
        ([21, 22], [-100, 22]),
        ([31, 32, 33], [-100, -100, 33]),
        ([41, 42, 43], [-100, 42, 43]),
        ([52, 53], [-100, 53]),
    ]
    assert documents(rows) == expected
    nulls = {"labels": None, "attention_mask": None, "seq_lengths": None}
    assert documents(datasets.Dataset.from_list([{**nulls, **row} for row in rows])) == expected


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda ids: np.array(ids, np.int16)])
def test_lists_and_arrays_are_read(kind: Any) -> None:
    assert documents([{"input_ids": kind([21, 22])}]) == [([21, 22], [-100, 22])]


@pytest.mark.parametrize(
    "borders",
    [
        {"seq_lengths": [2, 3]},
        {"position_ids": [0, 1, 0, 1, 2]},
        {"seq_lengths": [2, 3], "position_ids": [0, 1, 0, 1, 2]},
    ],
)
def test_a_packed_row_is_cut_into_its_documents(borders: dict[str, Any]) -> None:
    row = {"input_ids": [21, 22, 31, 32, 33], "labels": [21, 22, -100, 32, 33], **borders}
    assert documents([row]) == [([21, 22], [-100, 22]), ([31, 32, 33], [-100, 32, 33])]


@pytest.mark.parametrize("mask", [[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
def test_padding_is_removed(mask: list[int]) -> None:
    ids = [21, 22, 23] if mask[0] else [23, 24, 25]
    row = {"input_ids": [21, 22, 23, 24, 25], "labels": [21, 22, 23, 24, 25], "attention_mask": mask}
    assert documents([row]) == [(ids, [-100, *ids[1:]])]


def test_a_document_without_a_trained_token_is_dropped_and_counted() -> None:
    row = {"input_ids": [21, 22, 31, 32], "labels": [-100, -100, 31, 32], "seq_lengths": [2, 2]}
    stream = make_stream([row] * 2, lanes=1, epochs=1)
    assert [example.input_ids.tolist() for pack in stream for example in pack.examples] == [[31, 32]] * 2
    assert stream.stats.dropped == {"no_trained_token": 2}


def test_ids_that_are_too_long_are_dropped_or_cut() -> None:
    rows = [{"input_ids": [*range(21, 61)], "labels": [-100, 22, 23, *[-100] * 36, 60]}, {"input_ids": [21, 22]}]
    packing = {"kwargs": {"max_length": 8}}
    assert len(documents(rows, packing_config=packing)) == 1
    for method in ("right", "last_turns"):
        (ids, labels), _ = documents(rows, packing_config=packing, truncation_config={"method": method})
        assert ids == [21, 22, 23, 24, 25, 26, 27, 28][: 8 if method == "right" else 3]
        assert labels[:3] == [-100, 22, 23]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"input_ids": "21"}, "field 'input_ids': must be a list of whole numbers"),
        ({"input_ids": None}, "field 'input_ids': must be a list of whole numbers"),
        ({"input_ids": [21, 2.5]}, "field 'input_ids': must be a list of whole numbers"),
        ({"input_ids": [[21], [22]]}, "field 'input_ids': must be a list of whole numbers"),
        ({"input_ids": [21, None]}, "field 'input_ids': must be a list of whole numbers"),
        ({"input_ids": [21, 2**63]}, "field 'input_ids': must be a list of whole numbers"),
        ({"input_ids": [21, 2**64]}, "field 'input_ids': must be a list of whole numbers"),
        ({"input_ids": [21, 2.0]}, "field 'input_ids': must be a list of whole numbers"),
        ({"input_ids": (21, "22")}, "field 'input_ids': must be a list of whole numbers"),
        ({"input_ids": [21, 22], "labels": [-100, None]}, "field 'labels': must be a list of whole numbers"),
        ({"input_ids": []}, "field 'input_ids': has no token beside padding; leave the row out"),
        ({"input_ids": [21, -1]}, "field 'input_ids': has the id -1; ids are 0 or more"),
        ({"input_ids": [21, 2**40]}, "field 'input_ids': has the id 1099511627776; ids are 0 or more"),
        ({"input_ids": [21, 10**6]}, "field 'input_ids' has the id 1,000,000, and the tokenizer has"),
        ({"input_ids": [21, 22], "labels": [21]}, "field 'labels': has 1 numbers, and input_ids has 2"),
        (
            {"input_ids": [21, 22], "labels": [22, -100]},
            "field 'labels': must be -100 or equal to input_ids, got 22 for",
        ),
        ({"input_ids": [21, 22], "loss_mask": [0, 2]}, "field 'loss_mask': must be 0 or 1 for each token"),
        ({"input_ids": [21, 22], "attention_mask": [1, 2]}, "field 'attention_mask': must be 1 for the tokens of"),
        ({"input_ids": [21, 22, 23], "attention_mask": [1, 0, 1]}, "field 'attention_mask': must be 1 for the"),
        ({"input_ids": [21, 22], "seq_lengths": [1, 2]}, "field 'seq_lengths': must have the sum 2, the number of"),
        ({"input_ids": [21, 22], "seq_lengths": [0, 2]}, "field 'seq_lengths': must be 1 or more for each"),
        ({"input_ids": [21, 22], "position_ids": [1, 2]}, "field 'position_ids': must count 0, 1, 2, ... in each"),
        ({"input_ids": [21, 22], "position_ids": [0, 2]}, "field 'position_ids': must count 0, 1, 2, ... in each"),
        (
            {"input_ids": [21, 22], "position_ids": [0, 0], "seq_lengths": [2]},
            "field 'position_ids': restarts at other tokens than those where seq_lengths ends",
        ),
    ],
)
def test_a_row_that_breaks_a_rule_is_bad(row: dict[str, Any], message: str) -> None:
    assert f"rows:0 (epoch 0): {message}" in error_of(row)
    good = [{"input_ids": [21, 22]}] * 3
    stream = make_stream([*good, row], fault_config={"on_bad_row": "skip", "max_bad_rows": 1}, lanes=1, epochs=1)
    assert len([example for pack in stream for example in pack.examples]) == 3
    assert stream.stats.skipped.total() == 1


def test_packed_rows_without_borders_are_bad_unless_allowed_by_name(special: tuple[int, int]) -> None:
    bos, eos = special
    packed = [
        {"input_ids": [21, 22, eos, 23, 24, eos]},
        {"input_ids": [21, 22, eos, eos, eos]},  # padding with the eos
        *([{"input_ids": [bos, 21, bos, 22], "labels": [-100, 21, -100, 22]}] if bos is not None else []),
    ]
    for row in packed:
        assert "seems to hold padding or several documents" in error_of(row)
        allowed = documents([row], tokenizer_config={"ids_without_borders": "one_document"})
        assert [ids for ids, _ in allowed] == [row["input_ids"]]
    turns = {"input_ids": [21, 22, eos, 23, 24, eos], "labels": [-100, 22, eos, -100, 24, eos]}  # two turns
    assert [ids for ids, _ in documents([turns])] == [turns["input_ids"]]
    (first, second) = documents([{**packed[0], "seq_lengths": [3, 3]}])
    assert (first[0], second[0]) == ([21, 22, eos], [23, 24, eos])


@pytest.mark.parametrize("columns", [{"input_ids": "tokens", "labels": "targets"}, {"input_ids": "tokens"}])
def test_columns_can_have_other_names(columns: dict[str, str]) -> None:
    row = {"tokens": [21, 22], "targets": [-100, 22]}
    assert documents([row], source_config={"columns": columns}) == [([21, 22], [-100, 22])]


def test_a_named_column_is_required() -> None:
    message = error_of(
        {"input_ids": [21, 22]}, source_config={"columns": {"input_ids": "input_ids", "labels": "label"}}
    )
    assert "field 'labels' has no column 'label' to come from" in message


def test_settings_that_ids_cannot_have_are_refused() -> None:
    rows = [{"input_ids": [21, 22]}]
    for changes, message in (
        ({"truncation_config": {"method": "input"}}, "ids have no input that could be cut"),
        ({"truncation_config": {"method": "split"}}, "only texts can be split"),
        ({"loss_config": {"prompts": True}}, "rows of ids say themselves which tokens are trained"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_stream(rows, **changes)
    stream: SFTStream = make_stream(rows)
    for method in (stream.render, stream.inference_prompt, stream.inference_ids):
        with pytest.raises(ConfigError, match="a row of ids has no prompt and no text; use its ids, or decode them"):
            method(rows[0])


def test_rows_with_another_form_are_read_in_that_form() -> None:
    row = {"input": "11", "response": "12", "text": "13", "input_ids": [21]}
    assert documents([row]) == documents([{"input": "11", "response": "12"}])
    with pytest.raises(
        SourceError, match=r"several forms, .*: text, input_ids; name one form, as in `columns: \{text: t"
    ):
        documents([{"text": "13", "input_ids": [21]}])
