"""A Trainer that a stream is attached to, as a job: `python -m torch.distributed.run ... -m tests.jobs.trainer FOLDER`.

Every rank writes a line of JSON for each optimizer step: what it trained on, and the loss that the Trainer logged.
Several runs, with `and` between their arguments, are trained one after the other in the same processes.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from samsum_stream import SFTStream, last_complete_checkpoint
from tests.jobs.training import digest
from tests.streams import NUM_WORDS, make_rows, make_stream, rows_of_batch

NUM_EVAL_ROWS = 60
CHECKPOINTS = "checkpoints"
LEARNING_RATE = 2e-4
"""At 1e-3 the model soon knows its few rows by heart, and rounding grows: after 400 steps two ranks that nobody kills
are 1e-3 off."""


class Step(NamedTuple):
    """An optimizer step: the loss as logged, and of each micro batch what it holds, in the global order."""

    loss: float
    digests: list[str]
    rows: list[list[int]]


class Start(NamedTuple):
    """How a rank began: after which step, and the processor time from `on_train_begin` to the first batch in the model.

    Where more ranks than cores start at once, the time on the clock is that of all of them.
    """

    step: int
    seconds: float


class Journal:
    """A file of JSON lines, each of which outlives its process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("")

    def write(self, **entry: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            print(json.dumps(entry), file=file)


class RecordingTrainer(Trainer):
    """A subclass, as many have one: it writes down what it trains on."""

    def __init__(self, *args: Any, journal: Journal, step_delay: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.journal, self.step_delay = journal, step_delay
        self.digests: list[str] = []
        self.rows: list[list[int]] = []
        self.began: float | None = None

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.began is not None:
            self.journal.write(start=self.state.global_step, seconds=time.process_time() - self.began)
            self.began = None
        self.digests.append(digest({name: inputs[name] for name in ("input_ids", "labels")}))
        self.rows.append(rows_of_batch(inputs))
        time.sleep(self.step_delay)
        return super().training_step(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            self.journal.write(step=self.state.global_step, loss=logs["loss"], digests=self.digests, rows=self.rows)
            self.digests, self.rows = [], []
        if "eval_loss" in logs:
            self.journal.write(eval_loss=logs["eval_loss"])
        super().log(logs, *args, **kwargs)


class Until(TrainerCallback):
    """Notes when training begins, and ends it after a step, while the schedule of learning rates goes on further."""

    def __init__(self, trainer: RecordingTrainer, step: int | None) -> None:
        self.trainer, self.step = trainer, step

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.trainer.began = time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            control.should_training_stop = True


def make_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=NUM_WORDS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config)


def job_stream(*, rows: int, layout: str, lanes: int) -> SFTStream:
    return make_stream(make_rows(rows), lanes=lanes, collator_config={"method": layout})


def eval_stream(*, layout: str) -> SFTStream:
    return make_stream(
        make_rows(NUM_EVAL_ROWS), lanes=4, batch_size=3, shuffle=False, epochs=1, collator_config={"method": layout}
    )


def train(arguments: Sequence[str]) -> None:
    """One run, with the arguments of the command line."""
    options = _parser().parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(options.folder / f"{options.name}-rank-{os.environ.get('RANK', '0')}.log")
    checkpoint = last_complete_checkpoint(options.folder / CHECKPOINTS) if options.resume else None
    trainer = _make_trainer(options, journal)
    trainer.train(resume_from_checkpoint=checkpoint)


def _make_trainer(options: argparse.Namespace, journal: Journal) -> RecordingTrainer:
    arguments = TrainingArguments(
        str(options.folder / CHECKPOINTS),
        num_train_epochs=options.epochs,
        max_steps=options.max_steps,
        gradient_accumulation_steps=options.accumulation,
        dataloader_num_workers=options.workers,
        learning_rate=LEARNING_RATE,
        logging_steps=1,
        save_steps=options.save_steps,
        save_total_limit=2,
        eval_on_start=options.evaluate,
        seed=0,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    stream = job_stream(rows=options.rows, layout=options.layout, lanes=options.lanes)
    unattached = {"train_dataset": stream, "data_collator": stream.collator} if options.unattached else {}
    trainer = RecordingTrainer(make_model(), arguments, journal=journal, step_delay=options.step_delay, **unattached)
    if not options.unattached:
        stream.attach(trainer, eval_stream=eval_stream(layout=options.layout) if options.evaluate else None)
    trainer.add_callback(Until(trainer, options.until))
    trainer.remove_callback(PrinterCallback)
    return trainer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where its logs go, and its checkpoints")
    parser.add_argument("--name", default="run", help="names this run's files")
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--layout", default="packed")
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=24)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--max-steps", type=int, default=-1, help="an endless stream")
    parser.add_argument("--until", type=int, help="stop after this step")
    parser.add_argument("--save-steps", type=int, default=1000)
    parser.add_argument("--step-delay", type=float, default=0.0, help="seconds that each micro batch takes longer")
    parser.add_argument("--resume", action="store_true", help="from the newest complete checkpoint, where there is one")
    parser.add_argument("--evaluate", action="store_true", help="before training")
    parser.add_argument("--unattached", action="store_true", help="hand the stream over as train_dataset")
    return parser


def starts_of(folder: Path, name: str = "run") -> list[Start]:
    """How each rank began."""
    found = [_entries(log) for log in _logs(folder, name)]
    return [Start(entry["start"], entry["seconds"]) for entries in found for entry in entries if "start" in entry]


def steps_of(folder: Path, name: str = "run") -> dict[int, Step]:
    """The steps that all ranks of a run have logged."""
    ranks = [{entry["step"]: entry for entry in _entries(log) if "step" in entry} for log in _logs(folder, name)]
    common = sorted(set.intersection(*map(set, ranks)))
    return {step: _merged([entries[step] for entries in ranks]) for step in common}


def eval_losses_of(folder: Path, name: str = "run") -> list[float]:
    """What each rank logged."""
    entries = [entry for log in _logs(folder, name) for entry in _entries(log)]
    return [entry["eval_loss"] for entry in entries if "eval_loss" in entry]


def _merged(ranks: list[dict[str, Any]]) -> Step:
    """Ranks take turns in the global order."""
    assert len({rank["loss"] for rank in ranks}) == 1, f"ranks logged other losses: {ranks}"
    digests, rows = (
        [each for turn in zip(*(rank[key] for rank in ranks), strict=True) for each in turn] for key in KEYS
    )
    return Step(ranks[0]["loss"], digests, rows)


KEYS = ("digests", "rows")


def _logs(folder: Path, name: str) -> list[Path]:
    found = sorted(folder.glob(f"{name}-rank-*.log"))
    assert found, f"{folder} has no log of {name}"
    return found


def _entries(log: Path) -> list[dict[str, Any]]:
    """The lines of a log, less a last one that was cut short."""
    lines = log.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def runs_of(arguments: Iterable[str]) -> list[list[str]]:
    """The arguments between each `and` and the next."""
    return [list(group) for is_and, group in groupby(arguments, "and".__eq__) if not is_and]


def main() -> None:
    torch.set_num_threads(1)
    for run in runs_of(sys.argv[1:]):
        train(run)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
