"""`samsum-stream preview` and `stream.preview()`: the first examples and packs, without reading the whole source."""

import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from samsum_stream import ConfigError, SFTStream, SourceError
from samsum_stream.cli import app
from tests.streams import make_rows, make_stream, rows_of_packs, write_lines

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["preview", *map(str, arguments)])


def headers(shown: str) -> list[str]:
    return re.findall(r"^(\S+ \(epoch 0\)): tokens", shown, re.MULTILINE)


# ------------------------------------------------------------------------------------------------- the contents


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("epochs", [1, None])
def test_the_first_packs_are_the_first_packs_of_training(lanes: int, epochs: int | None) -> None:
    stream = make_stream(make_rows(200), lanes=lanes, epochs=epochs, batch_size=4)
    previewed = rows_of_packs(stream.preview(4).packs)
    assert previewed == rows_of_packs(islice(stream, 4))


def test_n_examples_are_shown_and_not_counted() -> None:
    stream = make_stream(make_rows(60), lanes=4)
    for n in (1, 3, 60, 99):
        assert len(headers(str(stream.preview(n)))) == min(n, 60)
    assert stream.stats.rows == 0


def test_only_the_rows_that_are_shown_are_read() -> None:
    read = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal read
        for row in make_rows(600) * 10_000:
            read += 1
            yield row

    stream = make_stream(rows)
    read = 0
    stream.preview(2)
    assert 0 < read < 10_000


def test_rows_that_are_left_out_on_the_way_are_reported() -> None:
    rows = make_rows(40)
    rows[0]["response"] = " ".join(["11"] * 50)
    rows[1]["response"] = ""
    stream = make_stream(rows, shuffle=False, fault_config={"on_bad_row": "skip", "max_bad_rows": 3})
    assert "on the way: dropped: longer_than_max_length 1, skipped: empty_response 1" in str(stream.preview())
    assert "on the way" not in str(make_stream().preview())


def test_a_stream_without_a_row_to_train_on_is_an_error() -> None:
    rows = [{"input": "11", "response": " ".join(["11"] * 50)}] * 9
    with pytest.raises(SourceError, match="has no row to train on: its last 9 rows were all left out"):
        make_stream(rows).preview()


def test_a_child_of_a_mixture_can_be_shown_alone(tmp_path: Path) -> None:
    def child(name: str) -> dict[str, Any]:
        write_lines(tmp_path / f"{name}.jsonl", make_rows(30))
        return {"method": "jsonl", "kwargs": {"path": str(tmp_path / f"{name}.jsonl")}}

    inner = {"method": "mixture", "kwargs": {"sources": {"b": child("b"), "c": child("c")}}}
    sources = {"a": child("a"), "inner": inner}
    stream = make_stream(source_config={"method": "mixture", "kwargs": {"sources": sources}}, epochs=None)
    for name in stream.stats.children:
        shards = {example.position.shard for pack in stream.preview(5, source=name).packs for example in pack.examples}
        assert shards == {f"{name[-1]}.jsonl"}
    assert len({example.position.shard for pack in stream.preview(9).packs for example in pack.examples}) == 3
    with pytest.raises(ConfigError, match=r'has no child "inner/d"; known: a, inner/b, inner/c; did you mean "inner/'):
        stream.preview(source="inner/d")
    with pytest.raises(ConfigError, match=r"it is no mixture; leave the name out"):
        make_stream().preview(source="a")
    assert repr(make_stream().preview(source="rows")) == repr(make_stream().preview())


@pytest.mark.parametrize("kwargs", [{"n": 0}, {"packs": True, "ids": True}])
def test_contradicting_arguments_are_an_error(kwargs: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="a preview shows 1 or more, examples"):
        make_stream().preview(**kwargs)


# --------------------------------------------------------------------------------------------- the outputs


def test_a_notebook_a_terminal_and_print_show_the_same() -> None:
    preview = make_stream().preview(2)
    console = Console(record=True, file=io.StringIO(), width=100)
    console.print(preview)
    assert str(preview) == repr(preview)
    assert [line.rstrip() for line in console.export_text().splitlines()] == str(preview).splitlines()
    page = preview._repr_html_()
    for header in headers(str(preview)):
        assert header in page


def test_an_example_and_a_pack_print_as_one_line() -> None:
    pack = next(iter(make_stream()))
    example = pack.examples[0]
    length, num_trained = len(example.input_ids), int(example.trained.sum())
    assert repr(example) == f"<Example: {example.position}, {length} tokens, {num_trained} trained>"
    assert repr(pack) == f"<Pack: {len(pack.examples)} examples, {pack.num_tokens} tokens>"


@pytest.mark.parametrize("config", ["quickstart", "mixture", "questions"])
def test_the_command_shows_examples_with_their_mask(config: str) -> None:
    result = run(f"configs/{config}.yaml", "-n", 2)
    assert result.exit_code == 0, result.output
    assert len(headers(result.stdout)) == 2
    stream = SFTStream.from_yaml(f"configs/{config}.yaml")
    legend, shown = result.stdout.split("\n", 1)
    assert ">>>trained<<<" in legend
    trained = re.findall(r">>>(.*?)⟦<\|eos\|>⟧<<<", shown, re.DOTALL)
    for example, text in zip(islice(next(iter(stream)).examples, 2), trained, strict=True):
        response = stream.tokenizer.decode(example.input_ids[example.trained][:-1])
        assert re.sub(r"\s|·", "", response) == re.sub(r"\s|·|↵|┃", "", text)


def test_the_command_shows_packs_ids_and_children() -> None:
    packs = run("configs/quickstart.yaml", "-n", 4, "--packs").stdout
    assert packs.startswith("packs 4 of 512 tokens")
    assert len(re.findall("█▒", packs)) > 4
    assert re.search(r"⟦<\|bos\|>⟧ +P +lease", run("configs/quickstart.yaml", "--ids").stdout)
    positions = headers(run("configs/mixture.yaml", "--source", "questions").stdout)
    assert len(positions) == 3
    assert all(position.startswith("questions/") for position in positions)


def test_a_mistake_is_one_line_and_exit_code_1() -> None:
    result = run("configs/mixture.yaml", "--source", "question")
    assert result.exit_code == 1
    assert 'ConfigError: mixture has no child "question"; known: dialogues, questions; did you mean' in result.output
    assert "Traceback" not in result.output
