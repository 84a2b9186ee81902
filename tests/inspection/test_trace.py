"""`samsum-stream trace`: the rows of a global batch, read from the beginning or from a state, with their mask."""

import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from samsum_stream import SFTStream, StateError
from samsum_stream.cli import app
from samsum_stream.inspection.trace import read_state, trace_batch
from tests.inspection.configs import write_quickstart
from tests.resuming import stream_of, take


@pytest.fixture(params=[None, 1, 2], ids=["endless", "1 epoch", "2 epochs"])
def stream(request: pytest.FixtureRequest) -> SFTStream:
    return stream_of(epochs=request.param)


def infos(stream: SFTStream, num_batches: int) -> list[str]:
    return [batch["info"] for batch in take(stream.loader(), num_batches)]


def test_any_batch_is_traced_from_the_beginning(stream: SFTStream) -> None:
    num_batches = 120 if stream.pipeline.epochs is None else len(stream.loader())
    expected = infos(stream, num_batches)
    for number in (0, 1, 23, 24, num_batches // 2, num_batches - 1):
        assert str(trace_batch(stream, number)) == expected[number]


def test_any_batch_is_traced_from_a_state(stream: SFTStream) -> None:
    expected = infos(stream, 120)
    loader = stream.loader()
    list(take(loader, 40))
    state = loader.state_dict()
    for number in (40, 41, 63, 64, 119):
        assert str(trace_batch(stream, number, state=state)) == expected[number]


def test_a_batch_after_the_end_of_the_epochs_is_an_error_without_a_state() -> None:
    stream = stream_of(epochs=2)
    num_batches = len(stream.loader())
    for number in (num_batches, num_batches + 500):
        message = f"no global batch {number}: epochs: 2 has the batches 0 to {num_batches - 1}; give one of these"
        with pytest.raises(StateError, match=message):
            trace_batch(stream, number)


def test_a_state_after_the_batch_is_an_error(stream: SFTStream) -> None:
    loader = stream.loader()
    list(take(loader, 40))
    with pytest.raises(StateError, match=r"resumes at global batch 40, which is after batch 39; give an earlier state"):
        trace_batch(stream, 39, state=loader.state_dict())


def test_a_state_is_read_from_a_folder_from_a_rank_and_from_plain_json(stream: SFTStream, tmp_path: Path) -> None:
    loader = stream.loader()
    list(take(loader, 40))
    path = loader.save(tmp_path)
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(loader.state_dict()))
    for location in (tmp_path, path.parent, path, plain):
        assert read_state(location) == loader.state_dict()
    (tmp_path / "incomplete.json").write_text(plain.read_text()[:99])
    (tmp_path / "empty").mkdir()
    for missing in ("incomplete.json", "nothing.json", "rank-7.json", "empty"):
        with pytest.raises(
            StateError, match=rf"{missing}: no state can be read \(.*\); give a folder that loader.save"
        ):
            read_state(tmp_path / missing)


def test_the_newest_of_several_states_before_the_batch_is_read(stream: SFTStream, tmp_path: Path) -> None:
    loader = stream.loader()
    for number, _ in enumerate(take(loader, 30)):
        if number in (9, 29):
            loader.save(tmp_path)
    assert [read_state(tmp_path, up_to=batch)["batch"] for batch in (10, 29, 30, 99)] == [10, 10, 30, 30]
    with pytest.raises(
        StateError, match="there is no state of batch 9 or earlier, only of batches 30, 10; leave the state out"
    ):
        read_state(tmp_path, up_to=9)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The quickstart with absolute paths and fixed lanes."""
    return write_quickstart(tmp_path, lanes=4, epochs=None)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_prints_every_row_of_the_batch_with_its_mask(config: Path, tmp_path: Path) -> None:
    stream = SFTStream.from_yaml(config)
    loader = stream.loader()
    states = tmp_path / "states"
    for _ in islice(loader, 10):
        loader.save(states)
    for arguments in ([], ["--state", states]):
        result = run("trace", config, "--batch", 10, *arguments)
        assert result.exit_code == 0, result.output
        assert "global batch 10, lane 2" in result.output
        shown = re.sub(r"^[ ┃] |↵", "", result.output, flags=re.MULTILINE)
        for pack in trace_batch(stream, 10).packs:
            for example in pack.examples:
                assert str(example.position) in shown
                prompt = stream.tokenizer.decode(example.input_ids[~example.trained][1:])
                answer = stream.tokenizer.decode(example.input_ids[example.trained][:-1])
                assert f"⟦<|bos|>⟧{prompt}>>>·{answer.removeprefix(' ')}⟦<|eos|>⟧<<<" in shown


def test_the_command_reads_from_a_state_that_is_not_after_the_batch(config: Path, tmp_path: Path) -> None:
    loader = SFTStream.from_yaml(config).loader()
    for number, _ in enumerate(islice(loader, 10)):
        if number in (3, 9):
            loader.save(tmp_path / "states")
    for batch, code in ((3, 1), (4, 0), (10, 0)):
        assert run("trace", config, "--batch", batch, "--state", tmp_path / "states").exit_code == code


def test_padding_rows_are_shown(config: Path) -> None:
    finite = config.with_name("finite.yaml")
    finite.write_text(config.read_text().replace("epochs: null", "epochs: 1"))
    loader = SFTStream.from_yaml(finite).loader()
    padded = next(info for _ in loader if (info := loader.last_batch_info).num_padding_rows)
    heading = f"global batch {padded.batch}, lane {padded.lane}, {padded.num_padding_rows} row"
    assert heading in run("trace", finite, "--batch", padded.batch).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trace", "nothing.yaml", "--batch", "0"], "ConfigError: nothing.yaml: the config cannot be read"),
        (["trace", "CONFIG", "--batch", "0", "--state", "nothing"], "StateError: nothing: no state can be read"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(config: Path, arguments: list[str], message: str) -> None:
    result = run(*(str(config) if argument == "CONFIG" else argument for argument in arguments))
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_the_command_takes_the_lanes_of_the_run(config: Path) -> None:
    auto = config.with_name("auto.yaml")
    auto.write_text(config.read_text().replace("lanes: 4", "lanes: auto"))
    result = run("trace", auto, "--batch", 5, "--lanes", 4)
    assert result.stdout == run("trace", config, "--batch", 5).stdout
    assert result.stderr == ""
    assert "lanes: auto means lanes: 1, as for one process; pass --lanes" in run("trace", auto, "--batch", 5).stderr


def test_a_batch_below_0_is_a_usage_error(config: Path) -> None:
    assert run("trace", config, "--batch", -1).exit_code == 2


def test_the_folder_of_a_run_may_have_the_name_of_a_batch(stream: SFTStream, tmp_path: Path) -> None:
    loader = stream.loader()
    next(iter(loader))
    loader.save(tmp_path / "batch-16")
    assert read_state(tmp_path / "batch-16") == loader.state_dict()
