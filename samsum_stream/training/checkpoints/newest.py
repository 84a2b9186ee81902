"""Finds checkpoints of a Trainer on the disk or behind a URL, and the position in the data that they contain."""

import logging
import os
from pathlib import Path
from typing import Any

from samsum_stream.errors import StateError
from samsum_stream.loader.store import is_url, local_path
from samsum_stream.training.checkpoints.local import checkpoints_in, problem_of, state_in
from samsum_stream.training.checkpoints.store import CheckpointStore, split_url

logger = logging.getLogger(__name__)


def last_complete_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """The newest checkpoint from which training can resume; None if there is none.

    `transformers.trainer_utils.get_last_checkpoint` returns the newest folder, complete or not.

    Args:
        folder: A Trainer's output folder, or the URL of `attach(checkpoints=)`.

    Returns:
        A path, or a URL that `train(resume_from_checkpoint=)` of an attached Trainer accepts.

    Raises:
        StateError: the store behind the URL is down, or refuses.
    """
    if is_url(location := os.fspath(folder)):
        steps = CheckpointStore(location).complete_steps()
        return f"{location.rstrip('/')}/checkpoint-{steps[0]}" if steps else None
    for path in checkpoints_in(Path(local_path(location))).values():
        if (problem := problem_of(path)) is None:
            return str(path)
        logger.warning("%s; trying an older checkpoint", problem)
    return None


def position_in(checkpoint: str | os.PathLike[str]) -> dict[str, Any]:
    """The position in the data from a checkpoint of an attached Trainer, at a path or URL.

    Raises:
        StateError: the checkpoint has no position, or cannot be read.
    """
    if is_url(location := os.fspath(checkpoint)):
        url, step = split_url(location)
        state = CheckpointStore(url).state(step)
    else:
        state = state_in(Path(local_path(location)))
    position: dict[str, Any] | None = (
        state.get("stateful_callbacks", {}).get("DataPosition", {}).get("attributes", {}).get("position")
    )
    if not position:
        raise StateError(
            f"{checkpoint} has no position in the data, because its Trainer was not attached to a stream; give a "
            "checkpoint of an attached Trainer"
        )
    return position
