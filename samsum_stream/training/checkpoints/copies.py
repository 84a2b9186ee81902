"""Copies the checkpoints of a Trainer to a store after each save, and back when a job starts on another machine.

save      every node uploads the files that it has; rank 0 then writes the manifest, and removes old checkpoints
resume    the newest checkpoint, on the disks of all nodes or in the store; a node without this checkpoint downloads it
"""

import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed

from samsum_stream.errors import StateError
from samsum_stream.loader.processes.ranks import gathered, is_distributed
from samsum_stream.loader.store import is_url, local_path
from samsum_stream.training.checkpoints.local import checkpoints_in, problem_of, state_in
from samsum_stream.training.checkpoints.store import CheckpointStore, Status, split_url

logger = logging.getLogger(__name__)

T = TypeVar("T")


class CheckpointCopies:
    """The copies of a Trainer's checkpoints behind a URL; every rank calls each method.

    Args:
        trainer: The Trainer.
        url: Where the copies are; None if there are none, and checkpoints at URLs are only read.
    """

    def __init__(self, trainer: Any, url: str | None) -> None:
        self._trainer, self._store = trainer, None if url is None else CheckpointStore(url)
        self._missing: int | None = None

    def save(self, step: int) -> None:
        """Upload the checkpoint that the Trainer has saved. If this fails, a warning says so, and training goes on.

        The runs of a hyperparameter search are not copied.
        """
        store = self._store
        if store is None or self._trainer.hp_search_backend is not None:
            return
        if self._leads_node:
            self._set_newer_aside(step)
        try:
            self._save(store, step)
            self._missing = None
        except StateError as error:
            self._missing = step
            if self._is_first:
                logger.warning("checkpoint-%d is not copied, and the next save tries again: %s", step, error)
            return
        try:
            on_each_rank(lambda: self._remove_old(store, step) if self._is_first else None)
        except StateError as error:
            if self._is_first:
                logger.warning("old checkpoints are not removed, and the next save tries again: %s", error)

    def finish(self) -> None:
        """Try again to copy the last checkpoint, if its copy is missing at the end of the training."""
        if self._missing is not None:
            self.save(self._missing)
        if self._missing is not None and self._is_first:
            logger.error("%s is the last checkpoint, and has no copy in %s", self._folder(self._missing), self._store)

    def fetch(self, checkpoint: Any) -> Any:
        """The value of `resume_from_checkpoint` for a Trainer: a checkpoint in a store becomes one on the disk.

        Raises:
            StateError: the store is down or refuses, or the disk has another checkpoint of this step.
        """
        if self._store is not None:
            on_each_rank(self._store.prepare if self._is_first else lambda: None)
        if checkpoint is True and self._store is not None:
            return self._fetch_newest(self._store)
        if not isinstance(checkpoint, str):
            return checkpoint
        if not is_url(checkpoint):
            return local_path(checkpoint)
        url, step = split_url(checkpoint)
        return self._fetch(CheckpointStore(url), step)

    def _save(self, store: CheckpointStore, step: int) -> None:
        folder = self._folder(step)
        on_each_rank(lambda: store.begin(step) if self._is_first else None)
        sizes = on_each_rank(lambda: _sizes_in(folder) if self._leads_node else {})
        owners = {name: rank for rank in reversed(range(len(sizes))) for name in sizes[rank]}
        if not owners:
            raise StateError(f"{folder} has no files")
        own = [name for name, rank in owners.items() if rank == self._rank]
        on_each_rank(lambda: store.put(step, folder, own))
        files = {name: sizes[rank][name] for name, rank in owners.items()}
        on_each_rank(lambda: store.commit(step, files) if self._is_first else None)
        if self._is_first:
            num_bytes = f"{sum(files.values()):,}"
            logger.info("checkpoint-%d is copied to %s: %d files, %s bytes", step, store, len(files), num_bytes)

    def _remove_old(self, store: CheckpointStore, step: int) -> None:
        """Apply `save_total_limit`, remove incomplete checkpoints, and abandon newer ones of an earlier run."""
        manifests = store.manifests()
        complete = [number for number, manifest in manifests.items() if manifest.status is Status.COMPLETE]
        current, limit = [number for number in complete if number <= step], self._trainer.args.save_total_limit
        kept = {*(current[:limit] if limit and limit > 0 else current), self._trainer.state.best_global_step}
        for number, manifest in manifests.items():
            if number > step and manifest.status is Status.COMPLETE:
                store.abandon(number, manifest)
                logger.warning(
                    "%s/checkpoint-%d is newer than step %d, where this run is: it is kept, and marked as abandoned",
                    *(store, number, step),
                )
            elif number not in kept and manifest.status is not Status.ABANDONED:
                store.remove(number)

    def _fetch_newest(self, store: CheckpointStore) -> Any:
        """The newest checkpoint; True if there is none, so that the Trainer raises its error."""
        on_all_disks = set[int].intersection(*on_each_rank(self._complete_on_disk))
        (manifests, *_) = on_each_rank(lambda: store.manifests() if self._is_first else {})
        in_store = {step for step, manifest in manifests.items() if manifest.status is Status.COMPLETE}
        abandoned = {step for step, manifest in manifests.items() if manifest.status is Status.ABANDONED}
        if not (steps := (on_all_disks - abandoned) | in_store):
            return True
        newest = max(steps)
        return self._fetch(store, newest) if newest in in_store else str(self._folder(newest))

    def _fetch(self, store: CheckpointStore, step: int) -> str:
        self._bring(store, step)
        if self._trainer.args.load_best_model_at_end:
            self._fetch_best(store, state_in(self._folder(step))["best_global_step"])
        return str(self._folder(step))

    def _fetch_best(self, store: CheckpointStore, step: int | None) -> None:
        """Download the best checkpoint of the run, which the Trainer loads at its end."""
        if step is None:
            return
        (is_there, *_) = on_each_rank(lambda: self._is_first and store.is_complete(step))
        if is_there:
            self._bring(store, step)
        elif not self._folder(step).is_dir():
            logger.warning("the best checkpoint is checkpoint-%d, which is not in %s: it is lost", step, store)

    def _bring(self, store: CheckpointStore, step: int) -> None:
        """Download a checkpoint on the first node, and then on every other one that does not see this copy."""
        on_each_rank(lambda: self._download(store, step) if self._is_first else None)
        on_each_rank(lambda: self._download(store, step) if self._leads_node else None)

    def _download(self, store: CheckpointStore, step: int) -> None:
        folder = self._folder(step)
        if problem_of(folder) is None:
            if state_in(folder) != store.state(step):
                raise StateError(
                    f"{folder} and {store}/checkpoint-{step} are checkpoints of different runs; remove one of them, or "
                    "choose another output_dir"
                )
            return
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        store.get(step, part)
        shutil.rmtree(folder, ignore_errors=True)  # incomplete
        part.rename(folder)
        logger.info("%s is copied from %s", folder, store)

    def _set_newer_aside(self, step: int) -> None:
        """Rename newer checkpoints on the disk: a run that went on from an earlier one must not resume from them."""
        for number, path in checkpoints_in(Path(self._trainer.args.output_dir)).items():
            if number > step:
                shutil.rmtree(aside := path.with_name(f"set-aside-{path.name}"), ignore_errors=True)
                with suppress(FileNotFoundError):  # another node has renamed the folder on a common disk
                    path.rename(aside)
                logger.warning("%s is newer than step %d, where this run is: renamed to %s", path, step, aside.name)

    def _complete_on_disk(self) -> set[int]:
        checkpoints = checkpoints_in(Path(self._trainer.args.output_dir))
        return {step for step, path in checkpoints.items() if problem_of(path) is None}

    def _folder(self, step: int) -> Path:
        return Path(self._trainer.args.output_dir) / f"checkpoint-{step}"

    @property
    def _rank(self) -> int:
        return int(self._trainer.args.process_index)

    @property
    def _is_first(self) -> bool:
        return self._rank == 0

    @property
    def _leads_node(self) -> bool:
        return bool(self._trainer.args.local_process_index == 0)


def on_each_rank(action: Callable[[], T]) -> list[T]:
    """The results of all ranks, in their order.

    Raises:
        StateError: the error of any rank is raised on every rank, so that no rank waits for it.
    """
    result: T | StateError
    try:
        result = action()
    except StateError as error:
        result = error
    except Exception as error:  # another rank would wait for this one
        result = StateError(f"copying a checkpoint failed ({type(error).__name__}: {error}); check the disk")
    results = [result]
    if is_distributed():
        world_size = torch.distributed.get_world_size()
        results = gathered(result, world_size=world_size, action="copying a checkpoint")
    for problem in results:
        if isinstance(problem, StateError):
            raise problem
    return results  # type: ignore[return-value]


def _sizes_in(folder: Path) -> dict[str, int]:
    """The bytes of each file of a checkpoint, by its path in the folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
