"""Continues a run of a Trainer from the position in a checkpoint: which settings may differ, and which may not.

ranks, workers                                  any that fit the lanes
batch size and accumulation                     any with the same packs in a step: batches are cut or joined
num_train_epochs                                more, if the epochs that have begun keep their batches
num_train_epochs to max_steps, or the reverse   StateError
"""

import logging
import os
from typing import Any

from transformers import TrainingArguments

from samsum_stream.errors import ConfigError, StateError
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.loader.micro_batches import MicroBatches
from samsum_stream.loader.state.state import State
from samsum_stream.training.checkpoints.newest import position_in
from samsum_stream.training.train_epochs import TrainEpochs

logger = logging.getLogger(__name__)

NEW_RUN = "load the model of the checkpoint and call train() to start at the first row"


def batch_size_in(checkpoint: str | os.PathLike[str]) -> int | None:
    """The batch size of the run that a checkpoint continues; None if the checkpoint has no position."""
    try:
        return int(position_in(checkpoint)["fingerprint"]["batch_size"])
    except (StateError, KeyError, TypeError, ValueError, AttributeError):
        return None  # `resume` raises the error


def batch_size_of_run(micro_batch_size: int, *, saved: int | None) -> int:
    """The batch size of the checkpoint that is resumed; else that of the Trainer.

    Raises:
        StateError: the batches can neither be cut nor joined to the micro-batches of the Trainer.
    """
    batch_size = saved or micro_batch_size
    try:
        MicroBatches(micro_batch_size, batch_size)
    except ConfigError as error:
        raise StateError(
            f"per_device_train_batch_size is {micro_batch_size} (a batch_size in the config sets it), and the "
            f"checkpoint was saved with batches of {batch_size} packs: {error}"
        ) from None
    return batch_size


def packs_per_step(loader: StreamLoader, arguments: TrainingArguments) -> int:
    """The packs of all ranks in an optimizer step."""
    return int(loader.ranks.world_size * loader.batch_size * arguments.gradient_accumulation_steps)


def resume(epochs: TrainEpochs, saved: Any, *, global_step: int, args: TrainingArguments) -> None:
    """Continue from the entry of a `trainer_state.json`.

    Raises:
        StateError: the entry is not of this step, or the settings do not fit.
    """
    nothing: dict[str, Any] = {"position": None, "global_step": None}
    attributes = saved["attributes"] if isinstance(saved, dict) else nothing
    position = attributes["position"]
    if position is None or attributes["global_step"] != global_step:
        raise StateError(
            f"the checkpoint of step {global_step} has no position in the data: its Trainer was not attached, or saved "
            f"outside of a step; use another checkpoint, or {NEW_RUN}"
        )
    _require_same_steps(epochs, args, batches_per_step=attributes["batches_per_step"])
    _load(epochs, position)
    logger.info("resuming the data at global batch %d", position["batch"])


def _require_same_steps(epochs: TrainEpochs, args: TrainingArguments, *, batches_per_step: int) -> None:
    """Raises `StateError` if steps would not have the batches that they had, or parts of batches."""
    loader, batch_size = epochs.loader, epochs.loader.pipeline.batch_size
    before, now = batches_per_step * batch_size, packs_per_step(loader, args)
    if epochs.num_epochs is not None and now != before:
        raise StateError(
            f"a step had {before} packs (ranks x per_device_train_batch_size x gradient_accumulation_steps) and has "
            f"{now} now, so the remaining steps would not match the remaining rows; keep the product, or {NEW_RUN}"
        )
    packs_of_rank = now // loader.ranks.world_size
    if packs_of_rank % batch_size:
        raise StateError(
            f"a step has {packs_of_rank} packs of each rank, and the checkpoint was saved with batches of {batch_size} "
            f"packs, which one rank reads whole; with {args.world_size} processes, per_device_train_batch_size x "
            f"gradient_accumulation_steps must be a multiple of {batch_size}"
        )


def _load(epochs: TrainEpochs, position: State) -> None:
    loader, now, before = epochs.loader, epochs.num_epochs, position["fingerprint"]["epochs"]
    if (now is None) != (before is None):
        names = ("num_train_epochs", "max_steps")
        raise StateError(
            f"the checkpoint was trained with {names[before is None]}, and this run has {names[now is None]}: their "
            f"batches differ; continue with {names[before is None]}, or {NEW_RUN}"
        )
    if now is not None and now < before:
        raise StateError(f"num_train_epochs was {before} and is {now}; resume with {before}, and stop early")
    loader.load_state_dict(position, ignore=["epochs"])
    min_batches = position["epoch_run"]["min_batches"]
    if (plan := loader.plan) is not None and plan.num_batches != min_batches:
        raise StateError(
            f"num_train_epochs is {now}: a lane has {plan.num_batches} batches in an epoch, and had {min_batches} "
            f"with {before}, so the run cannot continue; resume with {before}, or {NEW_RUN}. A run that may need more "
            "epochs later starts with the most epochs, and stops early"
        )
