"""Checkpoints of a Trainer in a store, such as `s3://bucket/run`: a manifest says which of them are complete.

checkpoint-500/   manifest {"status": "incomplete"}   before the first file
                  model.safetensors, optimizer.pt, ...
                  manifest {"status": "complete", "files": {"model.safetensors": 548105171, ...}}   after the last
"""

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from samsum_stream.errors import StateError
from samsum_stream.errors.redaction import explain, redact
from samsum_stream.loader.store import Store
from samsum_stream.training.checkpoints.local import STATE, step_of

MANIFEST = "samsum-stream-manifest.json"
FORM = "samsum-stream-checkpoints.json"


class Status(StrEnum):
    """The status of a checkpoint in the store."""

    INCOMPLETE = "incomplete"
    COMPLETE = "complete"
    ABANDONED = "abandoned"
    """Complete, but training went on from an earlier one."""


class Manifest(NamedTuple):
    """What a checkpoint in the store consists of: the size of each file in bytes, by its path in the checkpoint."""

    status: Status
    files: Mapping[str, int]


class CheckpointStore:
    """The checkpoints behind a URL; the methods raise `StoreDownError`, or `StateError` if the store refuses."""

    def __init__(self, url: str) -> None:
        self._store = Store(url)

    def __str__(self) -> str:
        return str(self._store)

    def prepare(self) -> None:
        """Write the form of the checkpoints, and list them: a store that refuses is an error before the training."""
        self._store.write(f"/{FORM}", json.dumps({"version": 1}))
        self._store.names()

    def manifests(self) -> dict[int, Manifest]:
        """The manifests of all checkpoints by step, the newest first, without those that another program wrote."""
        steps = sorted((step for step in map(step_of, self._store.names()) if step is not None), reverse=True)
        contents = self._store.read_many("", [f"checkpoint-{step}/{MANIFEST}" for step in steps]).values()
        manifests = dict(zip(steps, map(_manifest, contents), strict=True))
        return {step: manifest for step, manifest in manifests.items() if manifest is not None}

    def is_complete(self, step: int) -> bool:
        """Whether there is a complete checkpoint of a step."""
        manifest = self._manifest_of(step)
        return manifest is not None and manifest.status is Status.COMPLETE

    def complete_steps(self) -> list[int]:
        """The steps of the complete checkpoints, the newest first."""
        return [step for step, manifest in self.manifests().items() if manifest.status is Status.COMPLETE]

    def begin(self, step: int) -> None:
        """From now on, the checkpoint is incomplete, without the files of an earlier run."""
        self._write(step, Manifest(Status.INCOMPLETE, {}))
        self._store.remove(_folder(step), but=MANIFEST)

    def put(self, step: int, folder: Path, names: Iterable[str]) -> None:
        """Upload files of a local checkpoint."""
        for name in names:
            self._store.upload(folder / name, f"{_folder(step)}/{name}")

    def commit(self, step: int, files: Mapping[str, int]) -> None:
        """From now on, the checkpoint is complete, with these files."""
        self._write(step, Manifest(Status.COMPLETE, files))

    def abandon(self, step: int, manifest: Manifest) -> None:
        """From now on, no run resumes from the checkpoint unless it is named."""
        self._write(step, manifest._replace(status=Status.ABANDONED))

    def get(self, step: int, folder: Path) -> None:
        """Download a complete checkpoint to a folder.

        Raises:
            StateError: a file is missing, or has another size than in the manifest.
        """
        manifest = self._manifest_of(step)
        if manifest is None or manifest.status is Status.INCOMPLETE:
            raise StateError(
                f"{self}{_folder(step)} is no complete checkpoint that attach(checkpoints=) wrote; choose one of the "
                f"steps {self.complete_steps()}"
            )
        for name in manifest.files:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            place = f"{_folder(step)}/{name}"
            self._store.download(place, target)
            if target.stat().st_size != manifest.files[name]:
                raise StateError(
                    f"{self}{place} has {target.stat().st_size} bytes, and had {manifest.files[name]} when it was "
                    "written; use an older checkpoint"
                )

    def state(self, step: int) -> Any:
        """The content of the `trainer_state.json` of a checkpoint; raises `StateError` if there is none."""
        try:
            return json.loads(self._store.read(f"{_folder(step)}/{STATE}"))
        except (FileNotFoundError, ValueError):
            raise StateError(
                f"{self}{_folder(step)}/{STATE} is missing or incomplete; use another checkpoint"
            ) from None

    def remove(self, step: int) -> None:
        """Remove a checkpoint."""
        self._write(step, Manifest(Status.INCOMPLETE, {}))  # a reader never finds a complete one without some files
        self._store.remove(_folder(step))

    def _manifest_of(self, step: int) -> Manifest | None:
        return _manifest(self._store.read_many(_folder(step), [MANIFEST])[MANIFEST])

    def _write(self, step: int, manifest: Manifest) -> None:
        self._store.write(f"{_folder(step)}/{MANIFEST}", json.dumps(manifest._asdict()))


def _manifest(content: bytes | Exception) -> Manifest | None:
    """A manifest from its JSON; None if there is none, or if another program wrote it.

    Raises:
        StateError: the store refuses to give it.
    """
    if isinstance(content, FileNotFoundError):
        return None
    if isinstance(content, Exception):
        raise StateError(f"a manifest cannot be read: {explain(content)}; check the credentials") from None
    try:
        values = json.loads(content)
        return Manifest(Status(values["status"]), values["files"])
    except (ValueError, KeyError, TypeError):
        return None


def split_url(checkpoint: str) -> tuple[str, int]:
    """The URL of the folder and the step of `folder/checkpoint-500`.

    Raises:
        StateError: the URL has another last part.
    """
    url, _, name = checkpoint.rstrip("/").rpartition("/")
    if (step := step_of(name)) is None:
        raise StateError(f"{redact(checkpoint)} is not the URL of a checkpoint; give one that ends in checkpoint-STEP")
    return url, step


def _folder(step: int) -> str:
    return f"/checkpoint-{step}"
