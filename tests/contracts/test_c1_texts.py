"""C1 and C2 for texts: each token is trained once, with one bos and one eos, also if a text is split."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from samsum_stream import ConfigError, SFTStream, SourceError
from samsum_stream.values.examples import Example
from tests.models import make_model
from tests.real_data import TOKENIZERS, load_rows, load_tokenizer, needs_real_data
from tests.resuming import SOURCES, assert_resumes_exactly, make_source, steps_of_two_epochs
from tests.streams import make_stream

NO_SPLIT = {"method": "drop"}
LAYOUTS = ("packed", "padding_free", "padded")


def stream_of(texts: list[str], tokenizer: Any, *, max_length: int = 32, **changes: Any) -> SFTStream:
    config = {
        "truncation_config": {"method": "split"},
        "packing_config": {"kwargs": {"max_length": max_length}},
        "lanes": 1,
        "shuffle": False,
        **changes,
    }
    return SFTStream.from_config(config, rows=[{"text": text} for text in texts], tokenizer=tokenizer)


def pieces_of(stream: SFTStream) -> list[list[Example]]:
    """The pieces of each text, in order."""
    examples = [example for pack in stream for example in pack.examples]
    examples.sort(key=lambda example: (example.position.row, example.position.part))
    return [[*pieces] for _, pieces in itertools.groupby(examples, key=lambda example: example.position.row)]


def require_exact(pieces: list[Example], text: str, tokenizer: PreTrainedTokenizerBase, overlap: int) -> None:
    """The joined pieces are the ids of the text, and the trained tokens of all pieces are these ids but the first."""
    ids = [*tokenizer(text).input_ids]
    ids += [tokenizer.eos_token_id] * (ids[-1] != tokenizer.eos_token_id)
    joined = [
        token for number, piece in enumerate(pieces) for token in piece.input_ids.tolist()[overlap * bool(number) :]
    ]
    assert joined == ids
    trained = [label for piece in pieces for label in piece.labels.tolist() if label != -100]
    assert trained == ids[1:]
    for before, after in itertools.pairwise(pieces):
        assert before.input_ids.tolist()[-overlap:] == after.input_ids.tolist()[:overlap]


@needs_real_data
@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("backend", ["hf", "auto"])
@pytest.mark.parametrize(("overlap", "at"), [(1, "token"), (5, "word"), (1, "line")])
def test_real_texts_are_exact_with_real_tokenizers(name: str, backend: str, overlap: int, at: str) -> None:
    tokenizer = load_tokenizer(name)
    texts = [row["input"] for row in load_rows("samsum")[:60] if row["input"].strip()]
    splitting = {"method": "split", "kwargs": {"overlap": overlap, "at": at}}
    stream = stream_of(texts, tokenizer, truncation_config=splitting, tokenizer_config={"backend": backend})
    pieces = pieces_of(stream)
    assert len(pieces) == len(texts)
    assert max(map(len, pieces)) > 3
    for text, of_text in zip(texts, pieces, strict=True):
        require_exact(of_text, text, tokenizer, overlap)
    assert stream.stats.splits["length"] == sum(map(len, pieces)) - len(texts)


@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip), min_size=1, max_size=4),
    max_length=st.integers(3, 20),
    overlap=st.integers(1, 2),
    at=st.sampled_from(["token", "word", "line"]),
)
def test_any_text_is_exact(texts: list[str], max_length: int, overlap: int, at: str) -> None:
    tokenizer = small()
    splitting = {"method": "split", "kwargs": {"overlap": overlap, "at": at}}
    stream = stream_of(texts, tokenizer, max_length=max_length, truncation_config=splitting)
    for text, pieces in zip(texts, pieces_of(stream), strict=True):
        require_exact(pieces, text, tokenizer, overlap)
        assert all(len(piece.input_ids) <= max_length for piece in pieces)


def small() -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(Path(__file__).resolve().parents[2] / "examples" / "data" / "tokenizer")


def test_texts_are_split_where_lines_and_words_begin(small_tokenizer: PreTrainedTokenizerBase) -> None:
    text = "".join(f"Line {number} has some words.\n" for number in range(30))
    for at, is_border in (
        ("line", lambda piece: piece.endswith("\n")),
        ("word", lambda piece: not piece[-1:].isalpha()),
    ):
        splitting = {"method": "split", "kwargs": {"at": at}}
        (pieces,) = pieces_of(stream_of([text], small_tokenizer, truncation_config=splitting))
        texts = [small_tokenizer.decode(piece.input_ids) for piece in pieces[:-1]]
        following = [small_tokenizer.decode(piece.input_ids[1:]) for piece in pieces[1:]]
        assert len(texts) > 3
        assert all(is_border(piece) or after[:1].isspace() for piece, after in zip(texts, following, strict=True))
    no_border = "x" * 500
    require_exact(
        pieces_of(stream_of([no_border], small_tokenizer, truncation_config=splitting))[0],
        no_border,
        small_tokenizer,
        1,
    )


def test_white_space_is_kept_and_inference_continues_the_text(small_tokenizer: PreTrainedTokenizerBase) -> None:
    text = "  def f():\n    return 1\n\n"
    stream = stream_of([text], small_tokenizer)
    assert stream.render({"text": text}) == stream.inference_prompt({"text": text}) == text
    ((piece,),) = pieces_of(stream)
    assert piece.input_ids.tolist() == [*stream.inference_ids({"text": text}), small_tokenizer.eos_token_id]


def test_a_special_token_in_a_text_is_ordinary_text(small_tokenizer: PreTrainedTokenizerBase) -> None:
    stream = stream_of(["one <|eos|> two"], small_tokenizer)
    ((piece,),) = pieces_of(stream)
    assert piece.input_ids.tolist().count(small_tokenizer.eos_token_id) == 1
    assert stream.stats.special_tokens_in_rows == 1


@pytest.mark.parametrize("text", ["", "  \n", None, 5])
def test_a_text_without_words_is_bad(text: Any, small_tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(SourceError, match="field 'text' must be a str"):
        stream_of([text], small_tokenizer)


@pytest.mark.parametrize("method", ["right", "drop", "error"])
def test_other_methods_treat_long_texts_as_other_rows(method: str, small_tokenizer: PreTrainedTokenizerBase) -> None:
    stream = stream_of(["short", "long " * 100], small_tokenizer, truncation_config={"method": method})
    if method == "error":
        with pytest.raises(SourceError, match="choose split, right or drop"):
            pieces_of(stream)
        return
    assert len(pieces_of(stream)) == (2 if method == "right" else 1)
    assert stream.stats.truncated.total() + stream.stats.dropped.total() == 1


def test_settings_that_texts_cannot_have_are_refused(small_tokenizer: PreTrainedTokenizerBase) -> None:
    for method in ("contexts", "input", "turns", "last_turns"):
        with pytest.raises(ConfigError, match=f"texts have no {method} that could be cut, .*; write split, right or"):
            stream_of(["a"], small_tokenizer, truncation_config={"method": method})
    splitting = {"method": "split", "kwargs": {"overlap": 32}}
    with pytest.raises(
        ConfigError, match=r"truncation_config.kwargs.overlap: must be less than max_length, which is 32"
    ):
        stream_of(["a"], small_tokenizer, truncation_config=splitting)
    with pytest.raises(SourceError, match="columns names tools, which only conversations have, and the rows are texts"):
        make_stream([{"text": "11", "tools": []}], source_config={"columns": {"text": "text", "tools": "tools"}})


def rows_of_form(form: str, count: int = 60) -> list[dict[str, Any]]:
    """Rows with one to five pieces or documents; some rows give none, because they are too long or not trained."""
    texts = [
        " ".join(str(11 + (index + number) % 400) for number in range(index * index % 70 + 1)) for index in range(count)
    ]
    if form == "text":
        return [{"text": text} for text in texts]
    rows = []
    for index in range(count):
        lengths = [(index + number) % 7 + 2 for number in range(index % 5 + 1)] if index % 11 else [40]
        ids = [21 + (index + number) % 300 for number in range(sum(lengths))]
        labels = [-100 if index % 13 == 4 or number % 5 == 1 else token for number, token in enumerate(ids)]
        rows.append({"input_ids": ids, "labels": labels, "seq_lengths": lengths})
    return rows


def make(form: str, folder: Path, *, source: str, layout: str = "packed", epochs: int | None = None) -> SFTStream:
    splitting = {"truncation_config": {"method": "split"}} if form == "text" else {}
    given = make_source(source, rows_of_form(form), folder)
    columns = {
        "text": {"text": "text"},
        "ids": {"input_ids": "input_ids", "labels": "labels", "seq_lengths": "seq_lengths"},
    }
    if "source_config" in given:
        given["source_config"]["columns"] = columns[form]
    return make_stream(**given, **splitting, collator_config={"method": layout}, epochs=epochs, lanes=4)


GRID = [
    (form, source, LAYOUTS[number % 3], (None, 1)[number // 2 % 2])
    for form in ("text", "ids")
    for number, source in enumerate(source for source in SOURCES if source != "mixture")
]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize(
    ("form", "source", "layout", "epochs", "num_workers"),
    [
        pytest.param(*case, num_workers, marks=[] if number % 4 == 2 * num_workers // 2 else pytest.mark.slow)
        for number, case in enumerate(GRID)
        for num_workers in (0, 2)
    ],
)
def test_a_state_of_every_step_resumes_exactly(
    form: str, source: str, layout: str, epochs: int | None, num_workers: int, tmp_path: Path
) -> None:
    stream = make(form, tmp_path, source=source, layout=layout, epochs=epochs)
    num_steps = steps_of_two_epochs(stream.loader())
    assert_resumes_exactly(
        lambda: stream.loader(num_workers=num_workers), num_steps=min(num_steps, 12 if num_workers else 40)
    )


def test_a_mixture_has_texts_ids_and_other_rows(tmp_path: Path, small_tokenizer: PreTrainedTokenizerBase) -> None:
    def lines(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return {"method": "jsonl", "kwargs": {"path": str(path)}}

    sources = {
        "texts": lines("texts", rows_of_form("text", 40)),
        "ids": lines("ids", rows_of_form("ids", 40)),
        "rows": lines("rows", [{"input": f"{number}", "response": "12"} for number in range(11, 51)]),
    }
    mixture = {"method": "mixture", "kwargs": {"sources": sources}}
    stream = make_stream(source_config=mixture, truncation_config={"method": "split"}, epochs=1, lanes=2)
    read = {example.position.source for pack in stream for example in pack.examples}
    assert read == {"texts", "ids", "rows"}
    assert_resumes_exactly(stream.loader, num_steps=12)


def test_isolation_of_pieces_is_measured_on_a_model(small_tokenizer: PreTrainedTokenizerBase) -> None:
    stream = stream_of(["some words and more " * 20] * 8, small_tokenizer)
    report = stream.check_model(make_model("llama", vocab_size=len(small_tokenizer)))
    assert report.best is not None


def test_preview_shows_texts(small_tokenizer: PreTrainedTokenizerBase) -> None:
    assert "some words" in str(stream_of(["some words"], small_tokenizer).preview(1))
