"""C10: the error for each mistake of a user gives the rule, the value, the place and the remedy."""

import gzip
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pytest
from torch.utils.data import DataLoader
from transformers import AutoTokenizer

from samsum_stream import (
    ConfigError,
    RowError,
    SamsumStreamError,
    SFTStream,
    SourceError,
    TokenizerError,
    TopologyError,
    TrustError,
)
from tests.real_data import FOLDER, TOKENIZERS, needs_real_data
from tests.schemas import require_rejection
from tests.streams import (
    BOS,
    EOS,
    IM_END,
    UNK,
    make_config,
    make_rows,
    make_stream,
    rows_of_packs,
    word_tokenizer,
    workers_that_end_at_once,
    write_lines,
)

YAML = """\
source_config:
  method: jsonl
  kwargs: {path: rows.jsonl}
packing_config: {method: best_fit, kwargs: {max_length: 64}}
batch_size: 2
"""


@pytest.fixture(autouse=True)
def quick_workers() -> Iterator[None]:
    with workers_that_end_at_once():
        yield


def fails(error: type[SamsumStreamError], read: Any, *parts: str) -> str:
    """Check that `read` raises exactly `error`, with all `parts` in its message; returns the message."""
    with pytest.raises(SamsumStreamError) as caught:
        read()
    assert type(caught.value) is error
    message = str(caught.value)
    for part in parts:
        assert part in message, message
    return message


def from_yaml(folder: Path, text: str) -> Any:
    path = folder / "stream.yaml"
    path.write_text(text, encoding="utf-8")
    write_lines(folder / "rows.jsonl", make_rows(3))
    return lambda: SFTStream.from_yaml(path, tokenizer=word_tokenizer())


# -------------------------------------------------------------------------------------------------- the config


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("batch_size: 2", "batch_sise: 2", ["stream.yaml:5: batch_sise: unknown key", 'did you mean "batch_size"?']),
        ("batch_size: 2", "batch_size: two", ["stream.yaml:5: batch_size: must be a whole number", 'got "two"']),
        ("batch_size: 2", "batch_size: 0", ["stream.yaml:5: batch_size: must be a whole number of 1 or more; got 0"]),
        (
            "batch_size: 2",
            "batch_size: 2\nbatch_size: 3",
            ["stream.yaml:6: batch_size: the key occurs twice, on line 5 and on line 6", "keep one"],
        ),
        (
            "method: best_fit",
            "method: bestfit",
            ["stream.yaml:4: packing_config.method: must be a known name", 'got "bestfit"', 'did you mean "best_fit"?'],
        ),
        ("method: jsonl", "method: jsonnl", ["stream.yaml:2: source_config.method", 'did you mean "jsonl"?']),
        ("{path: rows", "{pth: rows", ["stream.yaml:3: source_config.kwargs.pth", 'did you mean "path"?']),
        ("max_length: 64}}", "max_length: 64", ["stream.yaml:", "}"]),
        ("batch_size: 2", "\tbatch_size: 2", ["stream.yaml:5", "tab"]),
    ],
)
def test_a_mistake_in_the_yaml_is_reported_with_its_line(tmp_path: Path, old: str, new: str, parts: list[str]) -> None:
    assert old in YAML
    text = YAML.replace(old, new)
    require_rejection(text, fails(ConfigError, from_yaml(tmp_path, text), *parts))


def test_untrusted_code_is_reported_with_its_line(tmp_path: Path) -> None:
    text = YAML.replace("method: jsonl", "method: os::system")
    fails(
        TrustError,
        from_yaml(tmp_path, text),
        'stream.yaml:2: source_config.method: "os::system" would import code',
        'trust=["os"]',
    )


@pytest.mark.parametrize("skips", ["", "fault_config: {on_bad_row: skip, max_bad_rows: 9}\n"])
def test_a_wrong_column_is_reported_with_its_line_and_not_as_a_bad_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skips: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = YAML.replace("rows.jsonl}\n", "rows.jsonl}\n  columns: {response: respnse}\n") + skips
    place = "stream.yaml:4: source_config.columns: "
    message = fails(SourceError, from_yaml(tmp_path, text), place, "'respnse'", 'did you mean "response"?')
    assert "fault_config" not in message


@pytest.mark.parametrize("skips", ["", "fault_config: {on_bad_row: skip, max_bad_rows: 999}\n"])
def test_a_wrong_column_of_one_child_of_a_mixture_is_reported_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skips: str
) -> None:
    monkeypatch.chdir(tmp_path)
    child = "{method: jsonl, kwargs: {path: rows.jsonl}, columns: {input: COLUMN}}"
    inner = f"{{method: mixture, kwargs: {{sources: {{b: {child}}}}}}}".replace("COLUMN", "inptu")
    children = f"      a: {child}\n      inner: {inner}\n".replace("COLUMN", "input")
    mixture = f"  method: mixture\n  kwargs:\n    sources:\n{children}"
    text = YAML.replace("  method: jsonl\n  kwargs: {path: rows.jsonl}\n", mixture) + skips
    place = "stream.yaml:6: source_config.kwargs.sources.inner.kwargs.sources.b.columns: b/rows.jsonl:0"
    fails(SourceError, from_yaml(tmp_path, text), place, 'did you mean "input"?')


def test_if_all_first_rows_are_bad_the_error_says_that_they_are_not_skipped() -> None:
    rows = [*[{"input": "20", "response": " "}] * 64, *make_rows(9)]
    skips = {"fault_config": {"on_bad_row": "skip", "max_bad_rows": 99}}
    fails(RowError, read(rows, **skips), "rows:0 (epoch 0)", "not skipped, because all of the first 64 rows are bad")
    fails(RowError, read(rows), "rows:0 (epoch 0)", "is not blank")


def test_a_missing_file_is_reported_with_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fails(
        SourceError, from_yaml(tmp_path, YAML.replace("rows.json", "row.json")), "row.jsonl", "did you mean rows.jsonl"
    )


# ---------------------------------------------------------------------------------------------------- the rows


def read(rows: object, **changes: Any) -> Any:
    """A function that builds a stream of `rows` and reads all of it."""
    return lambda: list(make_stream(rows, shuffle=False, **changes))


def test_a_missing_column_is_reported_with_the_known_columns() -> None:
    rows = [{"dialogue": "20", "response": "21"}]
    parts = ["'input'", "known: dialogue, response", "columns: {input: ...}"]
    fails(SourceError, read(rows), "config: source_config.columns: rows:0 (epoch 0)", *parts)
    fails(RowError, read([*make_rows(2), *rows]), "rows:2 (epoch 0)", *parts, "skip bad rows by fault_config")
    fails(SourceError, read(datasets.Dataset.from_list(rows)), "rows: field", *parts)
    misspelt = {"source_config": {"columns": {"input": "dialog"}}}
    fails(SourceError, read(datasets.Dataset.from_list(rows), **misspelt), "'dialog'", 'did you mean "dialogue"?')


@pytest.mark.parametrize(
    ("contexts", "value"), [(5, "int: 5"), ({"a": "b"}, "dict"), (["20", 5], "list"), ([["20"]], "list")]
)
def test_contexts_of_the_wrong_type_are_reported(contexts: Any, value: str) -> None:
    rows = [*make_rows(2), {"input": "20", "contexts": contexts, "response": "21"}]
    rule = "field 'contexts' must be a list of str, one str, or null"
    fails(RowError, read(rows), "rows:2 (epoch 0)", rule, f"got {value}", "fix the row")


@pytest.mark.parametrize(
    ("response", "problem"),
    [(None, "must be a str, got NoneType"), ("", "must be a str that is not blank"), (" \n", "that is not blank")],
)
def test_a_row_with_an_empty_response_is_reported(response: Any, problem: str) -> None:
    fails(RowError, read([*make_rows(3), {"input": "20", "response": response}]), "rows:3 (epoch 0): field 'response'")
    fails(
        RowError, read([*make_rows(3), {"input": "20", "response": response}]), problem, "fix the row or leave it out"
    )


def test_a_row_without_a_response_is_reported() -> None:
    fails(RowError, read([*make_rows(3), {"input": "20"}]), "rows:3 (epoch 0)", "'response'", "known: input")


def test_an_empty_input_is_legal() -> None:
    [pack] = make_stream([{"input": "", "response": "21"}])
    assert pack.examples[0].input_ids.tolist() == [BOS, 21, EOS]


def no_rows() -> Iterator[dict[str, str]]:
    yield from ()


@pytest.mark.parametrize("epochs", [1, None])
def test_an_empty_source_is_an_error_and_never_a_silent_end(epochs: int | None, tmp_path: Path) -> None:
    fails(SourceError, read([], epochs=epochs), "rows: there are no rows", "at least one")
    nothing = datasets.Dataset.from_dict({"input": [], "response": []})
    fails(SourceError, read(nothing, epochs=epochs), "rows: the dataset has no rows", "check its split")
    fails(
        SourceError,
        read(datasets.IterableDataset.from_generator(no_rows), epochs=epochs),
        "rows: there are no rows",
    )
    fails(SourceError, read(lambda: iter([]), epochs=epochs), "rows: the iterable has no rows")
    (tmp_path / "empty.jsonl").touch()
    config = {"source_config": {"method": "jsonl", "kwargs": {"path": str(tmp_path / "empty.jsonl")}}}
    fails(SourceError, read(None, **config, epochs=epochs), "the files hold no rows", "empty.jsonl")


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("epochs", [1, None])
def test_a_cut_gzip_file_is_reported_after_its_whole_rows(tmp_path: Path, num_workers: int, epochs: int | None) -> None:
    lines = "".join(json.dumps({"input": f"{n}", "response": f"{n * n} {n**5}"}) + "\n" for n in range(9000))
    whole = gzip.compress(lines.encode())
    (tmp_path / "rows.jsonl.gz").write_bytes(whole[: len(whole) * 3 // 4])
    source = {"method": "jsonl", "kwargs": {"path": str(tmp_path / "rows.jsonl.gz")}}
    loader = make_stream(source_config=source, shuffle=False, epochs=epochs).loader(num_workers=num_workers)
    batches = []
    fails(
        SourceError,
        lambda: batches.extend(loader),
        "rows.jsonl.gz:",
        "is cut short after",
        "whole rows",
        "fetch or write it again",
    )
    # The rows of a finite stream are counted before its first batch.
    assert bool(batches) == (epochs is None)


@pytest.mark.parametrize("line", ["{", "[1]", "null", '{"input": "20"', '{"input": "20", "response": "21"} x'])
def test_a_line_that_is_not_a_row_is_reported_with_its_number(tmp_path: Path, line: str) -> None:
    path = write_lines(tmp_path / "rows.jsonl", make_rows(3))
    path.write_text(path.read_text() + "\n" + line + "\n")
    config = {"source_config": {"method": "jsonl", "kwargs": {"path": str(path)}}}
    fails(RowError, read(None, **config), "rows.jsonl:3 (epoch 0)")


# --------------------------------------------------------------------------------------------------- long rows

LONG = {"input": "100 101 102 103", "contexts": ["200 201 202", "210 211 212"], "response": "300 301 302"}
NUM_TOKENS = 1 + 4 + 6 + 3 + 1


def truncated(method: str, max_length: int, row: dict[str, Any] = LONG) -> tuple[list[list[int]], SFTStream]:
    stream = make_stream([row, *make_rows(1)], max_length=max_length, truncation_config={"method": method})
    ids = [e.input_ids.tolist() for pack in stream for e in pack.examples if e.position.row == 0]
    assert stream.stats.rows == 2
    return ids, stream


def test_a_row_that_fits_exactly_is_not_changed() -> None:
    for method in ("drop", "contexts", "input", "right", "error"):
        [ids], stream = truncated(method, NUM_TOKENS)
        assert ids == [BOS, 200, 201, 202, 210, 211, 212, 100, 101, 102, 103, 300, 301, 302, EOS]
        assert not stream.stats.truncated
        assert not stream.stats.dropped


def test_a_long_row_is_dropped_and_counted() -> None:
    ids, stream = truncated("drop", NUM_TOKENS - 1)
    assert ids == []
    assert stream.stats.dropped == {"longer_than_max_length": 1}


def test_contexts_are_shortened_from_the_end_of_the_last_one() -> None:
    [ids], stream = truncated("contexts", NUM_TOKENS - 1)
    assert ids == [BOS, 200, 201, 202, 210, 211, 100, 101, 102, 103, 300, 301, 302, EOS]
    assert stream.stats.truncated == {"contexts": 1}
    [ids], _ = truncated("contexts", NUM_TOKENS - 4)
    assert ids == [BOS, 200, 201, 100, 101, 102, 103, 300, 301, 302, EOS]
    [ids], stream = truncated("contexts", NUM_TOKENS - 8)
    assert ids == [BOS, 100, 101, 300, 301, 302, EOS]
    assert stream.stats.truncated == {"contexts": 1, "input": 1}


def test_the_input_is_shortened_from_its_end() -> None:
    [ids], stream = truncated("input", NUM_TOKENS - 2)
    assert ids == [BOS, 200, 201, 202, 210, 211, 212, 100, 101, 300, 301, 302, EOS]
    assert stream.stats.truncated == {"input": 1}


def test_a_row_that_does_not_fit_after_truncation_is_dropped_and_counted() -> None:
    for method in ("contexts", "input"):
        ids, stream = truncated(method, 4, {"input": "100", "response": "300 301 302 303"})
        assert ids == []
        assert stream.stats.dropped == {"longer_than_max_length": 1}
        assert not stream.stats.truncated


def test_the_right_end_is_cut_without_a_new_eos() -> None:
    [ids], stream = truncated("right", NUM_TOKENS - 1)
    assert ids == [BOS, 200, 201, 202, 210, 211, 212, 100, 101, 102, 103, 300, 301, 302]
    [ids], stream = truncated("right", NUM_TOKENS - 3)
    assert ids[-1] == 300
    assert stream.stats.truncated == {"right": 1}
    ids, stream = truncated("right", NUM_TOKENS - 4)
    assert ids == []
    assert stream.stats.dropped == {"no_trained_token": 1}


def test_a_long_row_is_an_error_with_the_method_error() -> None:
    rows = [*make_rows(2), LONG]
    fails(
        RowError,
        read(rows, max_length=NUM_TOKENS - 1, truncation_config={"method": "error"}),
        f"rows:2 (epoch 0): the row has {NUM_TOKENS} tokens and max_length is {NUM_TOKENS - 1}",
        "truncation_config.method error",
        "raise packing_config.kwargs.max_length",
    )


@pytest.mark.parametrize("epochs", [1, None])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_that_drops_every_row_is_an_error_and_does_not_hang(epochs: int | None, num_workers: int) -> None:
    stream = make_stream(make_rows(600), max_length=3, epochs=epochs, lanes=2)
    remedy = "raise packing_config.kwargs.max_length"
    parts = ["no row to train on", "longer_than_max_length", remedy]
    counted = ["no row is left to train on: 600 rows were all left out (600 longer_than_max_length)", remedy]
    loader = stream.loader(num_workers=num_workers)
    fails(SourceError, lambda: list(islice(loader, 1)), *(counted if epochs else parts))
    if not num_workers:
        fails(SourceError, lambda: list(islice(stream, 1)), *parts)


@pytest.mark.parametrize("kept", [0, 599])
def test_a_chunk_with_only_dropped_rows_is_skipped(kept: int) -> None:
    long = {"input": "20", "response": " ".join(["21"] * 60)}
    rows = [long] * 600
    rows[kept] = make_rows(1)[0]
    stream = make_stream(rows, shuffle=False)
    assert rows_of_packs(stream) == [kept]
    assert stream.stats.dropped == {"longer_than_max_length": 599}


# ------------------------------------------------------------------------------------------- tokenizers and lanes


@pytest.mark.parametrize("folder", ["./nowhere", "/nowhere/at/all", "../no/such/model", "some/where/else"])
def test_a_missing_tokenizer_folder_is_reported(folder: str) -> None:
    config = make_config(base_model=folder)
    fails(
        TokenizerError,
        lambda: SFTStream.from_config(config, rows=make_rows(3)),
        f"there is no folder {folder!r}",
        "seen from",
        "give a folder that holds tokenizer.json",
    )


def test_a_folder_without_a_tokenizer_is_reported(tmp_path: Path) -> None:
    config = make_config(base_model=str(tmp_path))
    fails(TokenizerError, lambda: SFTStream.from_config(config, rows=make_rows(3)), str(tmp_path), "tokenizer.json")


def test_a_tokenizer_without_an_eos_is_reported() -> None:
    tokenizer = word_tokenizer()
    tokenizer.eos_token = None
    fails(
        TokenizerError,
        lambda: SFTStream.from_config(make_config(), rows=make_rows(3), tokenizer=tokenizer),
        "no eos token",
        "add_special_tokens",
    )


@pytest.mark.parametrize("number", [3, 5])
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_lanes_that_do_not_fit_the_ranks_or_the_workers_of_a_plain_loader_are_reported(number: int) -> None:
    stream = make_stream(lanes=4)
    plain = DataLoader(stream, collate_fn=stream.collator, num_workers=number)
    for readers, open_loader in (
        ("ranks", lambda: stream.loader(rank=0, world_size=number)),
        ("workers", lambda: list(plain)),
    ):
        fails(
            TopologyError,
            open_loader,
            f"lanes: 4 lanes cannot be shared evenly by {number} {readers}",
            f"use 1, 2, 4 {readers}",
            "lanes: auto",
        )


def test_a_lane_with_too_few_examples_for_its_batches_is_reported() -> None:
    loader = make_stream(make_rows(3), lanes=2, batch_size=1, method="none", shuffle=False).loader()
    fails(
        SourceError,
        lambda: list(loader),
        "rows: lane 1 of 2, epoch 0: a lane has 1 example in an epoch",
        "needs one for each of 2 batches",
        "lower lanes",
    )


def test_more_lanes_than_rows_are_reported() -> None:
    fails(
        TopologyError,
        read(make_rows(3), lanes=4),
        "lanes: 4 lanes need at least 4 rows, but the source has 3; use fewer lanes, or fewer ranks and workers",
    )


# ------------------------------------------------------------------------------------------ special tokens in rows

SPELLED = {"input": "20 </s> 21 <|im_end|>", "response": "22 <s> 23"}


def spelled(policy: str) -> tuple[list[int], SFTStream]:
    rows = [SPELLED, *make_rows(3)]
    stream = make_stream(rows, tokenizer_config={"backend": "hf", "special_tokens_in_rows": policy})
    [ids] = [e.input_ids.tolist() for pack in stream for e in pack.examples if e.position.row == 0]
    return ids, stream


def test_special_tokens_in_a_row_are_ordinary_text_by_default() -> None:
    ids, stream = spelled("text")
    # "</s>" is four marks, "<|im_end|>" seven, "<s>" three.
    assert ids == [BOS, 20, *[UNK] * 4, 21, *[UNK] * 7, 22, *[UNK] * 3, 23, EOS]
    assert stream.inference_ids(SPELLED) == ids[:14]
    assert stream.stats.special_tokens_in_rows == 1
    assert make_stream([SPELLED]).config.tokenizer_config.special_tokens_in_rows == "text"


def test_special_tokens_in_a_row_are_parsed_with_the_policy_parse() -> None:
    ids, stream = spelled("parse")
    assert ids == [BOS, 20, EOS, 21, IM_END, 22, BOS, 23, EOS]
    assert stream.inference_ids(SPELLED) == ids[:5]
    assert stream.stats.special_tokens_in_rows == 1


def test_special_tokens_in_a_row_are_an_error_with_the_policy_error() -> None:
    policy = {"backend": "hf", "special_tokens_in_rows": "error"}
    fails(
        RowError,
        read([*make_rows(2), SPELLED], tokenizer_config=policy),
        "rows:2 (epoch 0): the row spells the special token '</s>'",
        "tokenizer_config.special_tokens_in_rows is error",
        "set it to text",
    )


@needs_real_data
@pytest.mark.parametrize("name", TOKENIZERS)
def test_rows_cannot_forge_special_tokens_of_a_real_tokenizer(name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "tokenizers" / name)
    special = sorted(set(tokenizer.all_special_tokens) | {tokenizer.eos_token})
    forged = " and ".join([*special, "</s>", "<|im_end|>", "[INST]"])
    rows = [{"input": f"Hello {forged} there", "response": f"Yes {forged} indeed"}]
    config = make_config(max_length=4096)
    stream = SFTStream.from_config(config, rows=rows, tokenizer=tokenizer)
    [pack] = stream
    ids = pack.examples[0].input_ids.tolist()
    start = [tokenizer.bos_token_id] if stream.tokenizer("Yes")["input_ids"][0] == tokenizer.bos_token_id else []
    assert set(ids[len(start) : -1]).isdisjoint(tokenizer.all_special_ids)
    assert ids[-1] == tokenizer.eos_token_id
    assert stream.stats.special_tokens_in_rows == 1
