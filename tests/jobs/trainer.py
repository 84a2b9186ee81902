"""A Trainer with an attached stream, as a job: `python -m torch.distributed.run ... -m tests.jobs.trainer FOLDER`.

Every rank writes a line of JSON for each optimizer step: its batches, and the loss that the Trainer logged. The same
processes train several runs one after the other if `and` separates their arguments.
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
"""At 1e-3 the model soon memorizes its few rows, and rounding errors grow: after 400 steps, the losses of two ranks
without any kill differ by 1e-3 from those of one process."""


class Step(NamedTuple):
    """An optimizer step: the logged loss, and the digest and the rows of each micro batch in the global order."""

    loss: float
    digests: list[str]
    rows: list[list[int]]


class Start(NamedTuple):
    """The step after which a rank started, and the CPU seconds from `on_train_begin` to its first batch.

    Wall-clock time would include the other ranks if more ranks than cores start at the same time.
    """

    step: int
    seconds: float


class Journal:
    """A file of JSON lines. Each line is flushed, so that it survives a kill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("")

    def write(self, **entry: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            print(json.dumps(entry), file=file)


class RecordingTrainer(Trainer):
    """A subclass, as users often write, that records its batches."""

    def __init__(self, *args: Any, journal: Journal, step_delay: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.journal, self.step_delay = journal, step_delay
        self.digests: list[str] = []
        self.rows: list[list[int]] = []
        self.started: float | None = None

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.started is not None:
            self.journal.write(start=self.state.global_step, seconds=time.process_time() - self.started)
            self.started = None
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
    """Records the start of training, and stops after a step without changing the learning rate schedule."""

    def __init__(self, trainer: RecordingTrainer, step: int | None) -> None:
        self.trainer, self.step = trainer, step

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.trainer.started = time.process_time()

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
    """Train one run with these arguments of the command line."""
    options = _parser().parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(options.folder / f"{options.name}-rank-{os.environ.get('RANK', '0')}.log")
    checkpoints = options.folder / CHECKPOINTS if options.copies is None else options.copies
    checkpoint = last_complete_checkpoint(checkpoints) if options.resume else None
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
        evaluated = eval_stream(layout=options.layout) if options.evaluate else None
        stream.attach(trainer, eval_stream=evaluated, checkpoints=options.copies)
    trainer.add_callback(Until(trainer, options.until))
    trainer.remove_callback(PrinterCallback)
    return trainer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the logs and the checkpoints")
    parser.add_argument("--name", default="run", help="prefix of the files of this run")
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--layout", default="packed")
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=24)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--max-steps", type=int, default=-1, help="an endless stream")
    parser.add_argument("--until", type=int, help="stop after this step")
    parser.add_argument("--save-steps", type=int, default=1000)
    parser.add_argument("--step-delay", type=float, default=0.0, help="seconds to sleep in each micro batch")
    parser.add_argument("--resume", action="store_true", help="from the newest complete checkpoint, if one exists")
    parser.add_argument("--evaluate", action="store_true", help="before training")
    parser.add_argument("--copies", help="the URL to which checkpoints are copied")
    parser.add_argument("--unattached", action="store_true", help="pass the stream as train_dataset")
    return parser


def starts_of(folder: Path, name: str = "run") -> list[Start]:
    """The start of each rank."""
    entries = [entry for log in _logs(folder, name) for entry in _entries(log)]
    return [Start(entry["start"], entry["seconds"]) for entry in entries if "start" in entry]


def steps_of(folder: Path, name: str = "run") -> dict[int, Step]:
    """The steps that all ranks of a run logged."""
    ranks = [{entry["step"]: entry for entry in _entries(log) if "step" in entry} for log in _logs(folder, name)]
    common = sorted(set.intersection(*map(set, ranks)))
    return {step: _merged([entries[step] for entries in ranks]) for step in common}


def eval_losses_of(folder: Path, name: str = "run") -> list[float]:
    """The evaluation losses that the ranks logged."""
    entries = [entry for log in _logs(folder, name) for entry in _entries(log)]
    return [entry["eval_loss"] for entry in entries if "eval_loss" in entry]


def _merged(ranks: list[dict[str, Any]]) -> Step:
    """The step of all ranks; their batches are interleaved in the global order."""
    assert len({rank["loss"] for rank in ranks}) == 1, f"ranks logged different losses: {ranks}"
    digests, rows = (
        [batch for turn in zip(*(rank[key] for rank in ranks), strict=True) for batch in turn] for key in KEYS
    )
    return Step(ranks[0]["loss"], digests, rows)


KEYS = ("digests", "rows")


def _logs(folder: Path, name: str) -> list[Path]:
    logs = sorted(folder.glob(f"{name}-rank-*.log"))
    assert logs, f"{folder} has no log of {name}"
    return logs


def _entries(log: Path) -> list[dict[str, Any]]:
    """The lines of a log, without an incomplete last line."""
    lines = log.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def runs_of(arguments: Iterable[str]) -> list[list[str]]:
    """The arguments, split at `and`."""
    return [list(group) for is_and, group in groupby(arguments, "and".__eq__) if not is_and]


def main() -> None:
    torch.set_num_threads(1)
    for run in runs_of(sys.argv[1:]):
        train(run)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
