"""The examples run as a reader runs them: from another folder, offline, and say what they promise."""

import importlib
import io
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
COMMANDS = {
    "trainer": ("train_trainer.py",),
    "loop": ("train_loop.py",),
    "loop with workers": ("train_loop.py", "--num-workers", "2"),
}
every_example = pytest.mark.parametrize("name", COMMANDS)


@cache
def run(name: str) -> subprocess.CompletedProcess[str]:
    """A few steps of an example, on one thread: more would only wait for each other where a machine is busy."""
    command = [sys.executable, str(EXAMPLES / COMMANDS[name][0]), *COMMANDS[name][1:], "--max-steps", "12"]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    plain = {key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "COLUMNS")}
    return subprocess.run(
        command, env=plain | offline, cwd="/", capture_output=True, encoding="utf-8", timeout=300, check=False
    )


def losses(output: str) -> list[float]:
    """The losses of the log lines, in order."""
    return [float(loss) for loss in re.findall(r"^step +\d+ +loss +(\d+\.\d+)$", output, re.MULTILINE)]


@every_example
def test_exits_with_zero_and_says_nothing_on_stderr(name: str) -> None:
    finished = run(name)
    assert (finished.returncode, finished.stderr) == (0, "")


@every_example
def test_the_loss_goes_down(name: str) -> None:
    seen = losses(run(name).stdout)
    assert len(seen) == 12
    assert seen[-1] < 0.9 * seen[0]


def test_the_trainer_and_the_loop_train_on_the_same_batches() -> None:
    assert losses(run("trainer").stdout) == pytest.approx(losses(run("loop").stdout), abs=0.011)


@every_example
def test_prints_speed_and_packing_efficiency(name: str) -> None:
    output = run(name).stdout
    assert re.search(r"^12 steps in \d+ s, [\d,]+ tokens per second$", output, re.MULTILINE)
    efficiency = re.search(r"^packing efficiency (\d+\.\d\d)%", output, re.MULTILINE)
    assert efficiency is not None
    assert 99 <= float(efficiency[1]) <= 100


@every_example
def test_shows_an_example_with_its_trained_part_between_arrows(name: str) -> None:
    shown = run(name).stdout.split("== Training ==")[0]
    assert "<|bos|>Please summarize the following conversation\nConversation: " in shown
    assert re.search(r"\nSummary:>>> \w[^<]+<\|eos\|><<<\n", shown)


@every_example
def test_ends_with_a_summary_generated_from_the_inference_prompt(name: str) -> None:
    shown = run(name).stdout.split("== A generated summary")[1]
    assert re.search(r"^Summary: \S", shown, re.MULTILINE)
    assert "\nReference: Bronwyn tells Takumi" in shown


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What the examples share, imported as they do."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(EXAMPLES)
    return importlib.import_module("common")


def test_colour_marks_the_trained_part(common: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80, legacy_windows=False)
    monkeypatch.setattr(common, "console", console)
    common.show_example(common.open_stream())
    assert re.search(r"\x1b\[2mSummary:\x1b\[0m>>>\x1b\[1;4;32m ", console.file.getvalue())


def test_fails_where_the_loss_does_not_go_down(common: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"did not go clearly down: 7\.60 at first, 7\.50 at the end"):
        common.require_learning([7.6, 7.5])
