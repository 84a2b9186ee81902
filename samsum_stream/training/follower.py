"""Callbacks through which a Trainer saves its position in the data, resumes from it and logs data metrics.

Trainer ──get_train_dataloader──▶ TrainEpochs ──one epoch per `for`──▶ StreamLoader of this rank
trainer_state.json ◀── DataPosition ◀──at a step that saves── Follower, which gathers the positions of all ranks
"""

import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainingArguments
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import get_last_checkpoint

from samsum_stream.loader.loader import StreamLoader
from samsum_stream.loader.processes.ranks import of_all_ranks
from samsum_stream.loader.state.state import State, merge_states
from samsum_stream.training.arguments import agree_on_settings, require_supported
from samsum_stream.training.checkpoints.copies import CheckpointCopies
from samsum_stream.training.fitting import Fitting
from samsum_stream.training.protocol import Stream
from samsum_stream.training.replacing import replaced
from samsum_stream.training.resuming import batch_size_in, batch_size_of_run, packs_per_step, resume
from samsum_stream.training.train_epochs import TrainEpochs

logger = logging.getLogger(__name__)


class DataPosition(TrainerCallback, ExportableState):
    """The entry of `trainer_state.json`: the state of all ranks after a step.

    With `restore_callback_states_from_checkpoint`, the Trainer creates this object again from its saved values.
    Therefore it holds plain values only. `run` is different in each call of `train()`.
    """

    def __init__(self) -> None:
        self.global_step, self.num_processes, self.batches_per_step = 0, 1, 1
        self.position: State | None = None
        self.run = ""

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": dict(vars(self))}


class Follower(TrainerCallback):
    """Saves the position after each saved step, resumes from it, and corrects the Trainer's count of epochs."""

    def __init__(self, stream: Stream, trainer: Any, fitting: Fitting, copies: CheckpointCopies) -> None:
        self.stream, self.trainer, self._fitting, self._copies = stream, trainer, fitting, copies
        self.epochs: TrainEpochs
        self._saved_batch_size: int | None = None
        self._run = ""
        self._unmeasured: Stream | None = None
        self._logged_at, self._logged_tokens = 0.0, 0
        self._first_tokens, self._first_waited = 0, 0.0

    def train(self, train: Any, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Replaces `Trainer.train`: the batches of a checkpoint are needed before the Trainer reads the checkpoint."""
        resume_from_checkpoint = self._copies.fetch(resume_from_checkpoint)
        folder = self.trainer.args.output_dir
        is_last = resume_from_checkpoint is True
        checkpoint = get_last_checkpoint(folder) if is_last else resume_from_checkpoint  # type: ignore[no-untyped-call]
        with replaced(self, _saved_batch_size=batch_size_in(checkpoint) if checkpoint else None):
            return train(resume_from_checkpoint, *args, **kwargs)

    def train_dataloader(self) -> TrainEpochs:
        """Replaces `Trainer.get_train_dataloader`: the stream from its beginning, for a new `trainer.train()`.

        The model may be another one than that of `attach`, and the arguments may have changed.
        """
        arguments = self.trainer.args
        require_supported(self.stream, arguments)
        is_measured = self._fitting.fit(self.stream)
        settings = agree_on_settings(self.stream, self.trainer)
        micro_batch_size = settings["batch_size"]
        settings["batch_size"] = batch_size_of_run(micro_batch_size, saved=self._saved_batch_size)
        run = self.stream.with_run(**settings)
        self._unmeasured = None if is_measured else run
        callbacks = self.trainer.callback_handler.callbacks
        callbacks.append(callbacks.pop(callbacks.index(self)))  # after the callbacks that may request a save
        loader = run.loader(
            num_workers=arguments.dataloader_num_workers,
            pin_memory=arguments.dataloader_pin_memory and torch.cuda.is_available(),
            prefetch_factor=arguments.dataloader_prefetch_factor,
            device_mesh=self.trainer.accelerator.torch_device_mesh,
            micro_batch_size=micro_batch_size,
            batches_per_step=arguments.gradient_accumulation_steps,
        )
        self.epochs, self._run = TrainEpochs(loader, num_epochs=run.pipeline.epochs), uuid.uuid4().hex
        return self.epochs

    def on_train_begin(self, args: TrainingArguments, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        name = DataPosition.__name__
        if state.global_step:
            resume(self.epochs, state.stateful_callbacks.get(name), global_step=state.global_step, args=args)
            self._correct_epoch(state)
        state.stateful_callbacks[name] = DataPosition().state()  # a checkpoint may have no entry, or several
        self._logged_at, self._logged_tokens = time.perf_counter(), self.stream.stats.tokens
        self._first_tokens, self._first_waited = self._logged_tokens, self.stream.stats.seconds_waited

    def on_step_begin(self, args: TrainingArguments, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Measure a model whose weights were not there before, such as one of ZeRO-3."""
        run, self._unmeasured = self._unmeasured, None
        if run is not None:
            self._fitting.fit_prepared(run)

    def on_step_end(self, args: TrainingArguments, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        self._correct_epoch(state)
        plan = self.epochs.loader.plan
        if plan is not None and self.epochs.loader.batch >= plan.end_batch:
            control.should_training_stop = True  # the Trainer's own end is later if the number of ranks has changed
        may_save_best = control.should_evaluate and args.save_strategy == "best"
        if control.should_save or may_save_best:
            self._save_position(state)

    def on_save(self, args: TrainingArguments, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        self._copies.save(state.global_step)

    def on_epoch_end(self, args: TrainingArguments, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        self.on_step_end(args, state, control)

    def on_train_end(self, args: TrainingArguments, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        self.epochs.close()
        self._copies.finish()

    def log(self, log: Any, logs: Mapping[str, float], *args: Any, **kwargs: Any) -> None:
        """Replaces `Trainer.log`: adds data metrics to each log with a loss."""
        log({**logs, **self.metrics()} if "loss" in logs else logs, *args, **kwargs)

    def metrics(self) -> dict[str, float]:
        """Metrics of this rank's data so far; `tokens_per_second` is measured since the previous call."""
        stats, now = self.stream.stats, time.perf_counter()
        elapsed, self._logged_at = now - self._logged_at, now
        tokens, self._logged_tokens = stats.tokens - self._logged_tokens, stats.tokens
        return {
            "data/tokens_per_second": tokens / elapsed,
            "data/efficiency": stats.efficiency,
            "data/padding": 1 - (stats.tokens - self._first_tokens) / max(self.epochs.num_slots, 1),
            "data/trained_share": stats.trained_tokens / max(stats.tokens, 1),
            "data/rows_dropped": stats.dropped.total(),
            "data/rows_truncated": stats.truncated.total(),
            "data/rows_skipped": stats.skipped.total(),
            "data/seconds_waited": stats.seconds_waited - self._first_waited,
            "data/seconds_waited_for_files": stats.seconds_waited_for_files,
        }

    def _correct_epoch(self, state: Any) -> None:
        """After a resume, the Trainer counts from the start of the current epoch, and the data from its beginning."""
        epoch = self.epochs.loader.epoch
        state.epoch = state.global_step / state.max_steps if epoch is None else epoch

    def _save_position(self, state: Any) -> None:
        callbacks = self.trainer.callback_handler.callbacks
        entry = next(callback for callback in callbacks if isinstance(callback, DataPosition))
        entry.global_step, entry.num_processes = state.global_step, self.trainer.args.world_size
        loader, arguments = self.epochs.loader, self.trainer.args
        entry.batches_per_step = packs_per_step(loader, arguments) // loader.pipeline.batch_size
        entry.position, entry.run = gathered_state(loader), self._run


def gathered_state(loader: StreamLoader) -> State:
    """The state of all ranks, on each rank; processes that share rows have equal states."""
    states = of_all_ranks((loader.ranks.rank, loader.state_dict()))
    return merge_states(list(dict(states).values()))
