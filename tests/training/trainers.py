"""A Trainer with a small stream attached to it, for the tests of this folder."""

from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from samsum_stream import SFTStream
from tests.models import make_model
from tests.streams import make_rows, make_stream, rows_of_batch

NUM_ROWS = 60


class Recorder(Trainer):
    """A user's Trainer that records the rows of its batches."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows: list[list[int]] = []

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        self.rows.append(rows_of_batch(inputs))
        return super().training_step(model, inputs, *args, **kwargs)


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    defaults = {
        "output_dir": str(folder),
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
    }
    return TrainingArguments(**{**defaults, **changes})


def small_stream(**changes: Any) -> SFTStream:
    """With a fixed form of attention, because `auto` may choose different forms in different runs."""
    return make_stream(make_rows(NUM_ROWS), **{"lanes": 2, "collator_config": layout_of("packed"), **changes})


def layout_of(name: str) -> dict[str, Any]:
    return {"method": name, "kwargs": {"attention": "position_ids"} if name == "packed" else {}}


def attached(folder: Path, stream: SFTStream, *, model: str = "llama", **changes: Any) -> Recorder:
    trainer = Recorder(make_model(model), arguments(folder, **changes))
    stream.attach(trainer)
    return trainer


def losses(trainer: Trainer) -> list[tuple[int, float, float]]:
    return [(log["step"], log["epoch"], log["loss"]) for log in trainer.state.log_history if "loss" in log]
