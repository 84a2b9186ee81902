"""A Trainer evaluates streams, as a job: `python -m torch.distributed.run ... -m tests.jobs.evaluation FOLDER`.

Every rank writes a JSON file with what `compute_metrics` saw and with the metrics of each case.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed
from transformers import EvalPrediction, Trainer, TrainingArguments

from samsum_stream import ConfigError, SFTStream
from tests.models import make_model
from tests.streams import make_rows, make_stream, rows_of_batch

Seen = list[list[Any]]
"""For each row that `compute_metrics` saw: its documents, its trained labels, and the predictions of these labels."""


class Case(NamedTuple):
    layout: str
    num_rows: int = 23
    batch_size: int = 3
    lanes: int = 2
    batchwise: bool = False
    workers: int = 0
    accumulation: int | None = None

    def __str__(self) -> str:
        return "-".join(map(str, self))


CASES = [
    Case("padded"),
    Case("padded", batchwise=True),
    Case("padded", num_rows=11, batch_size=2, workers=1),
    Case("packed"),
    Case("packed", accumulation=1),
    Case("packed", batchwise=True),
    Case("padding_free", batch_size=1),
    Case("padding_free", batchwise=True),
]
SMALL = Case("padded", num_rows=3, batch_size=2, workers=2)
"""Fewer rows than two ranks with two workers each."""
TOO_SMALL = Case("padded", num_rows=1)
"""Fewer rows than two ranks."""


class Recorder:
    """A `compute_metrics` that records what it sees."""

    def __init__(self) -> None:
        self.seen: Seen = []
        self.losses: list[float] = []
        self.ends: list[bool] = []

    def __call__(self, prediction: EvalPrediction, compute_result: bool = True) -> dict[str, float]:
        self.ends.append(compute_result)
        inputs = prediction.label_ids if prediction.inputs is None else prediction.inputs
        for ids, labels, predicted in zip(inputs, prediction.label_ids, prediction.predictions, strict=True):
            trained = torch.as_tensor(labels)[1:] != -100
            documents = rows_of_batch({"input_ids": torch.as_tensor(ids)[None]})
            values = (torch.as_tensor(row) for row in (labels[1:], predicted[:-1]))
            self.seen.append([documents, *(value[trained].tolist() for value in values)])
        if prediction.losses is not None:
            self.losses += torch.as_tensor(prediction.losses).tolist()
        return {"rows": len(self.seen)} if compute_result else {}


def evaluate(case: Case, folder: Path) -> dict[str, Any]:
    """What `compute_metrics` saw and the metrics of one case."""
    recorder = Recorder()
    arguments = TrainingArguments(
        str(folder),
        dataloader_num_workers=case.workers,
        batch_eval_metrics=case.batchwise,
        include_for_metrics=["loss"] if case.batchwise else ["inputs", "loss"],
        eval_accumulation_steps=case.accumulation,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        make_model("llama"),
        arguments,
        compute_metrics=recorder,
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
    )
    _stream(Case(case.layout, num_rows=60)).attach(trainer)
    try:
        metrics = trainer.evaluate(_stream(case))
    except ConfigError as error:
        return {"error": str(error)}
    return {"seen": recorder.seen, "losses": recorder.losses, "ends": recorder.ends, "metrics": metrics}


def _stream(case: Case) -> SFTStream:
    kwargs = {"attention": "position_ids"} if case.layout == "packed" else {}
    lanes = {"lanes": "auto" if case.workers else case.lanes}
    return make_stream(
        make_rows(case.num_rows),
        batch_size=case.batch_size,
        shuffle=False,
        collator_config={"method": case.layout, "kwargs": kwargs},
        **lanes,
    )


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    results = {str(case): evaluate(case, folder) for case in (*CASES, SMALL, TOO_SMALL)}
    (folder / f"rank-{os.environ['RANK']}.json").write_text(json.dumps(results), encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
