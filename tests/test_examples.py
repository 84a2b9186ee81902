"""The examples run from another folder, offline, and print what the documentation promises."""

import importlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from rich.console import Console

from tests.jobs.training import digest
from tests.streams import make_rows, make_stream

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
NUM_STEPS, SAVED_STEP = 10, 7
SCRIPTS = {
    "trainer": ("train_trainer.py",),
    "loop": ("train_loop.py",),
    "loop with workers": ("train_loop.py", "--num-workers", "2"),
    "accelerate": ("train_accelerate.py",),
    "lightning": ("train_lightning.py",),
}
MTIME_WARNING = "[transformers] mtime may not be reliable on this filesystem, falling back to numerical ordering\n"
"""The Trainer logs this if it saves twice within a second, which happens with few steps."""

every_script = pytest.mark.parametrize("name", SCRIPTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for copies of the project, in which the examples write their checkpoints."""
    return tmp_path_factory.mktemp("projects")


@cache
def project(folder: Path, name: str) -> Path:
    """A copy of the examples and their configs, one for each name."""
    copy = folder / name.replace(" ", "_")
    for subfolder in ("examples", "configs"):
        shutil.copytree(ROOT / subfolder, copy / subfolder)
    return copy


@cache
def run(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Run a few steps of a script, which saves a checkpoint between them."""
    length = ("--max-steps", str(NUM_STEPS), "--save-steps", str(SAVED_STEP))
    return start(project(folder, name), *SCRIPTS[name], *length)


def start(
    project: Path, script: str, *arguments: str, launcher: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a script on one thread: on a busy machine, several threads wait for each other."""
    command = [sys.executable, *launcher, str(project / "examples" / script), *arguments]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    plain = {key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "COLUMNS")}
    return subprocess.run(
        command, env=plain | offline, cwd="/", capture_output=True, encoding="utf-8", timeout=300, check=False
    )


def losses(output: str) -> dict[int, str]:
    """The losses of the log lines as printed text, by step."""
    return {int(step): loss for step, loss in re.findall(r"^step +(\d+) +loss +(\d+\.\d{4})$", output, re.MULTILINE)}


@every_script
def test_exits_with_zero_and_prints_nothing_on_stderr(folder: Path, name: str) -> None:
    finished = run(folder, name)
    assert (finished.returncode, finished.stderr.removeprefix(MTIME_WARNING)) == (0, "")


@every_script
def test_the_loss_goes_down(folder: Path, name: str) -> None:
    logged = losses(run(folder, name).stdout)
    assert list(logged) == list(range(1, NUM_STEPS + 1))
    assert float(logged[NUM_STEPS]) < 0.9 * float(logged[1])


@pytest.mark.parametrize(("name", "tolerance"), [("trainer", 1e-3), ("lightning", 0)])
def test_they_train_on_the_same_batches(folder: Path, name: str, tolerance: float) -> None:
    """Not with workers (two lanes) or accumulation (two batches a step); the Trainer has no weight decay."""
    expected = losses(run(folder, "loop").stdout)
    actual = losses(run(folder, name).stdout)
    for step in range(1, NUM_STEPS + 1):
        assert float(actual[step]) == pytest.approx(float(expected[step]), abs=tolerance)


@pytest.mark.parametrize(
    "name",
    [
        "trainer",
        "loop with workers",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("accelerate", "lightning")),
    ],
)
def test_resumes_from_its_checkpoint_with_the_losses_of_an_uninterrupted_run(folder: Path, name: str) -> None:
    whole = losses(run(folder, name).stdout)
    if name == "trainer":  # as if it was killed while it saved its last step
        checkpoints = project(folder, name) / "outputs" / "train_trainer"
        os.truncate(checkpoints / f"checkpoint-{NUM_STEPS}" / "optimizer.pt", 1000)
    finished = start(project(folder, name), *SCRIPTS[name], "--max-steps", str(NUM_STEPS), "--resume")
    assert finished.returncode == 0, finished.stderr
    assert f"\nresuming after step {SAVED_STEP}\n" in finished.stdout
    assert losses(finished.stdout) == {step: whole[step] for step in range(SAVED_STEP + 1, NUM_STEPS + 1)}


@pytest.mark.slow
def test_with_accelerate_two_processes_have_the_losses_of_one_and_one_resumes_for_them(tmp_path: Path) -> None:
    copy = project(tmp_path, "accelerate")
    with (copy / "configs" / "quickstart.yaml").open("a") as config:
        config.write("lanes: 2\n")  # with auto, the number of lanes is the number of processes
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    length = ("train_accelerate.py", "--max-steps", str(NUM_STEPS), "--save-steps", str(SAVED_STEP))
    expected = losses(start(copy, *length, "--accumulation", "2").stdout)
    by_both = losses(start(copy, *length, "--accumulation", "1", launcher=launcher).stdout)
    resumed = losses(start(copy, *length, "--accumulation", "2", "--resume").stdout)
    assert list(expected) == list(by_both) == list(range(1, NUM_STEPS + 1))
    assert list(resumed) == list(range(SAVED_STEP + 1, NUM_STEPS + 1))
    for step, loss in [*by_both.items(), *resumed.items()]:
        assert float(loss) == pytest.approx(float(expected[step]), abs=2e-4)


@pytest.mark.filterwarnings("ignore")  # Lightning uses deprecated functions of torch
@pytest.mark.parametrize(("epochs", "num_workers"), [(None, 2), (1, 0)])
def test_lightning_resumes_with_exactly_the_batches_that_follow(
    epochs: int | None, num_workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    train_lightning = importlib.import_module("train_lightning")

    class Reader(train_lightning.LightningModule):  # type: ignore[name-defined, misc]
        """Records the batches, and trains a number."""

        def __init__(self) -> None:
            super().__init__()
            self.number, self.seen = torch.nn.Parameter(torch.zeros(())), []

        def train_dataloader(self) -> object:
            stream = make_stream(make_rows(120), epochs=epochs, lanes=2)
            self.batches = train_lightning.TrainedBatches(stream.loader(num_workers=num_workers))
            return self.batches

        def training_step(self, batch: tuple[dict[str, torch.Tensor], int], batch_idx: int) -> torch.Tensor:
            tensors, self.batches.next_batch = batch
            self.seen.append(digest(tensors))
            return self.number

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def read(checkpoint: Path | None = None) -> list[str]:
        reader = Reader()
        saving = train_lightning.ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=5, save_top_k=-1)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        end = {"max_steps": 22} if epochs is None else {"max_epochs": 3}
        train_lightning.Trainer(accelerator="cpu", callbacks=[saving], **quiet, **end).fit(reader, ckpt_path=checkpoint)
        return reader.seen

    whole = read()
    assert len(whole) > 20
    for step in (5, 20):
        assert read(tmp_path / f"step={step}.ckpt") == whole[step:]


@every_script
def test_prints_speed_and_packing_efficiency(folder: Path, name: str) -> None:
    output = run(folder, name).stdout
    assert re.search(rf"^{NUM_STEPS} steps in \d+ s, [\d,]+ tokens per second$", output, re.MULTILINE)
    efficiency = re.search(r"^packing efficiency (\d+\.\d\d)%", output, re.MULTILINE)
    assert efficiency is not None
    assert 99 <= float(efficiency[1]) <= 100


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "accelerate"])
def test_shows_an_example_with_its_trained_tokens_between_arrows(folder: Path, name: str) -> None:
    shown = run(folder, name).stdout.split("== Training ==")[0]
    assert "⟦<|bos|>⟧Please summarize the following conversation↵\n  Conversation: " in shown
    assert re.search(r"\n┃ Summary:>>>·\w[^<]+⟦<\|eos\|>⟧<<<\n", shown)


@every_script
def test_ends_with_a_summary_generated_from_the_inference_prompt(folder: Path, name: str) -> None:
    shown = run(folder, name).stdout.split("== A generated summary")[1]
    assert re.search(r"^Summary: \S", shown, re.MULTILINE)
    assert "\nReference: Bronwyn tells Takumi" in shown


def test_train_tools_trains_on_conversations_and_generates_a_turn(folder: Path) -> None:
    finished = start(project(folder, "tools"), "train_tools.py", "--max-steps", str(NUM_STEPS))
    assert (finished.returncode, finished.stderr) == (0, "")
    logged = losses(finished.stdout)
    assert float(logged[NUM_STEPS]) < 0.9 * float(logged[1])
    shown, generated = finished.stdout.split("== A generated turn ==")
    assert re.search(r"\n┃ >>><call>\w+ {[^}]*}</call>⟦<\|eos\|>⟧<<<↵\n  tool↵\n", shown)
    assert generated.startswith("\n<|bos|>system\nYou help in a kitchen. Use the tools.\nset_timer(name, minutes): ")
    assert "\nuser\nEggs for six minutes, please.<|eos|>\nassistant\n" in generated


def test_why_it_matters_draws_a_picture_and_prints_a_table(folder: Path, tmp_path: Path) -> None:
    copy, picture = project(folder, "why"), tmp_path / "new" / "picture.png"
    finished = start(copy, "why_it_matters.py", "--labels", "500", "--points", "1", "--output", str(picture))
    assert (finished.returncode, finished.stderr) == (0, "")
    for layout, most_padding in {"padded": 60, "packed": 1, "packed, full attention": 1}.items():
        row = re.search(rf"│ {layout} +│ +[\d,]+ │ +(\d+\.\d)% │ +\d+ │ +\d\.\d\d\d │", finished.stdout)
        assert row is not None, finished.stdout
        assert float(row[1]) <= most_padding
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert 10_000 < len(data) < 150_000


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The shared module of the examples, imported as the examples import it."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(EXAMPLES)
    return importlib.import_module("common")


def test_colour_marks_the_trained_tokens(common: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80, legacy_windows=False)
    monkeypatch.setattr(common, "console", console)
    common.show_example(common.open_stream())
    assert re.search(r"\x1b\[2mSummary:\x1b\[0m\x1b\[1;32m>>>", console.file.getvalue())


def test_fails_if_the_loss_does_not_go_down(common: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"did not decrease by a tenth: 7\.60 at first, 7\.50 at the end"):
        common.require_learning([7.6, 7.5])


def test_an_output_folder_is_emptied_unless_the_run_resumes(
    common: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    checkpoint = common.output_folder("run", resume=True) / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    assert common.output_folder("run", resume=True) == tmp_path / "outputs" / "run"
    assert checkpoint.exists()
    common.output_folder("run", resume=False)
    assert not checkpoint.exists()
