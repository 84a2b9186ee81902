"""Checkpoints of a real Trainer on a real S3 server: copied at each save, found and downloaded by the next job."""

import functools
import json
import logging
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import pytest
from transformers import TrainerCallback

from samsum_stream import ConfigError, StateError, last_complete_checkpoint
from samsum_stream.inspection.trace import read_state
from samsum_stream.training.checkpoints.store import MANIFEST
from tests.jobs.elastic import free_port
from tests.jobs.killing import Jobs
from tests.jobs.trainer import steps_of
from tests.models import make_model
from tests.s3 import DOWN, Server
from tests.streams import make_rows, make_stream
from tests.training.trainers import Recorder, arguments, losses, small_stream

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 6


class AtStep(TrainerCallback):
    """Calls functions at the end of steps."""

    def __init__(self, actions: dict[int, Callable[[], object]]) -> None:
        self.actions = actions

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.actions.get(state.global_step, bool)()


def make(folder: Path, url: str | None, **changes: Any) -> Recorder:
    defaults = {"max_steps": STEPS, "save_strategy": "steps", "save_steps": 2}
    evaluated = make_stream(make_rows(8), lanes=2, epochs=1) if "eval_strategy" in changes else None
    trainer = Recorder(make_model("llama"), arguments(folder, **{**defaults, **changes}), eval_dataset=evaluated)
    small_stream().attach(trainer, checkpoints=url)
    return trainer


def files_at(location: str) -> dict[str, bytes]:
    """The content of each file in a folder, by its path in the folder."""
    files, path = fsspec.core.url_to_fs(location)
    files.invalidate_cache()
    return {name.removeprefix(f"{path}/"): files.cat_file(name) for name in files.find(path)}


def status_of(url: str) -> dict[str, str]:
    """The status of each checkpoint."""
    manifests = {name: content for name, content in files_at(url).items() if name.endswith(f"/{MANIFEST}")}
    return {name.partition("/")[0]: json.loads(content)["status"] for name, content in manifests.items()}


def put(url: str, content: bytes) -> None:
    files, path = fsspec.core.url_to_fs(url)
    files.pipe_file(path, content)


class AtEnd(TrainerCallback):
    """Calls a function at the end of the training."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.action()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, float, float]]:
    """The losses of an uninterrupted run."""
    trainer = make(tmp_path_factory.mktemp("whole"), None)
    trainer.train()
    return losses(trainer)


def test_each_checkpoint_is_copied_with_all_its_files(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        make(tmp_path, url).train()
    assert status_of(url) == {f"checkpoint-{step}": "complete" for step in (2, 4, 6)}
    for step in (2, 4, 6):
        copied = files_at(f"{url}/checkpoint-{step}")
        manifest = json.loads(copied.pop(MANIFEST))
        assert copied == files_at(str(tmp_path / f"checkpoint-{step}"))
        assert manifest["files"] == {name: len(content) for name, content in copied.items()}
    assert f"checkpoint-6 is copied to {url}: {len(copied)} files, " in caplog.text


@pytest.mark.parametrize("by", ["true", "the newest", "a url without copies"])
def test_a_job_on_another_machine_continues_exactly(url: str, by: str, tmp_path: Path, whole: Any) -> None:
    first = make(tmp_path / "first", url)
    first.train()
    files, path = fsspec.core.url_to_fs(url)
    files.rm(f"{path}/checkpoint-6", recursive=True)
    second = make(tmp_path / "second", None if by == "a url without copies" else url)
    assert last_complete_checkpoint(url) == f"{url}/checkpoint-4"
    second.train(resume_from_checkpoint=True if by == "true" else f"{url}/checkpoint-4")
    assert second.rows == first.rows[4:]
    assert losses(second) == whole
    assert read_state(f"{url}/checkpoint-4") == read_state(tmp_path / "second" / "checkpoint-4")


def test_without_a_checkpoint_the_trainer_says_so_and_a_new_run_begins(url: str, tmp_path: Path) -> None:
    trainer = make(tmp_path, url)
    assert last_complete_checkpoint(url) is None
    with pytest.raises(ValueError, match="No valid checkpoint found"):
        trainer.train(resume_from_checkpoint=True)
    trainer.train(resume_from_checkpoint=last_complete_checkpoint(url))
    assert len(trainer.rows) == STEPS


def test_the_store_keeps_the_number_of_checkpoints_that_the_trainer_keeps(url: str, tmp_path: Path) -> None:
    put(f"{url}/checkpoint-1/model.safetensors", b"of another program")
    make(tmp_path, url, save_total_limit=1).train()
    assert status_of(url) == {"checkpoint-6": "complete"}
    assert files_at(f"{url}/checkpoint-1")


def test_the_best_checkpoint_is_kept_and_downloaded(url: str, tmp_path: Path) -> None:
    changes = {
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "greater_is_better": True,  # the first loss is the greatest
    }
    trainer = make(tmp_path / "first", url, **changes)
    trainer.train()
    assert trainer.state.best_global_step == 2
    assert [*status_of(url)] == ["checkpoint-2", "checkpoint-6"]
    second = make(tmp_path / "second", url, **{**changes, "max_steps": 8})
    second.train(resume_from_checkpoint=True)
    for name, weights in trainer.model.state_dict().items():
        assert weights.equal(second.model.state_dict()[name])


def test_while_the_store_is_down_training_continues_and_the_next_save_is_copied(
    url: str, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, whole: Any
) -> None:
    trainer, found = make(tmp_path, url), []
    with ExitStack() as outage:
        begin = functools.partial(outage.enter_context, server.broken(1.0, kinds=(DOWN,)))
        end = lambda: (outage.close(), found.append(last_complete_checkpoint(url)))  # noqa: E731
        trainer.add_callback(AtStep({3: begin, 5: end}))
        trainer.train()
    assert "checkpoint-4 is not copied, and the next save tries again: writing s3://rows" in caplog.text
    assert found == [f"{url}/checkpoint-2"]
    assert losses(trainer) == whole
    assert status_of(url) == {"checkpoint-2": "complete", "checkpoint-6": "complete"}


def test_a_copy_that_an_outage_interrupts_is_never_offered_and_is_removed_later(
    url: str, server: Server, tmp_path: Path
) -> None:
    trainer, found = make(tmp_path, url), []
    with server.broken(1.0, kinds=(DOWN,), where="checkpoint-4/optimizer.pt"):
        look = lambda: found.append((status_of(url), last_complete_checkpoint(url)))  # noqa: E731
        trainer.add_callback(AtStep({5: look}))
        trainer.train()
    assert found == [({"checkpoint-2": "complete", "checkpoint-4": "incomplete"}, f"{url}/checkpoint-2")]
    assert status_of(url) == {"checkpoint-2": "complete", "checkpoint-6": "complete"}
    assert not [name for name in files_at(url) if name.startswith("checkpoint-4")]


def test_no_copy_is_lost_or_torn_if_some_requests_fail(url: str, server: Server, tmp_path: Path) -> None:
    trainer = make(tmp_path, url, save_steps=1)
    with server.broken(0.05, kinds=("503", "reset", DOWN), seed=2) as faults:
        trainer.train()
        assert last_complete_checkpoint(url) == f"{url}/checkpoint-6"
        second = make(tmp_path / "second", url, max_steps=7)
        second.train(resume_from_checkpoint=True)
    assert faults.injected.total() > 3
    assert len(second.rows) == 1
    for step in range(1, 7):
        copied = files_at(f"{url}/checkpoint-{step}")
        del copied[MANIFEST]
        assert copied == files_at(str(tmp_path / f"checkpoint-{step}"))


def test_a_run_that_goes_on_from_an_earlier_checkpoint_abandons_the_newer_ones(url: str, tmp_path: Path) -> None:
    make(tmp_path / "first", url).train()
    second = make(tmp_path / "first", url, max_steps=5)
    second.train(resume_from_checkpoint=f"{url}/checkpoint-2")
    assert status_of(url) == {
        "checkpoint-2": "complete",
        "checkpoint-4": "complete",
        "checkpoint-5": "complete",
        "checkpoint-6": "abandoned",
    }
    assert last_complete_checkpoint(url) == f"{url}/checkpoint-5"
    for folder in ("first", "other"):
        third = make(tmp_path / folder, url)
        third.train(resume_from_checkpoint=True)
        assert len(third.rows) == 1


def test_a_checkpoint_of_the_disk_that_the_store_missed_is_newer(url: str, server: Server, tmp_path: Path) -> None:
    with server.broken(1.0, kinds=(DOWN,), where="checkpoint-6"):
        make(tmp_path, url).train()
    trainer = make(tmp_path, url, max_steps=7)
    trainer.train(resume_from_checkpoint=True)
    assert len(trainer.rows) == 1


def test_a_torn_checkpoint_of_the_disk_is_replaced(url: str, tmp_path: Path) -> None:
    make(tmp_path, url).train()
    (tmp_path / "checkpoint-6" / "optimizer.pt").write_bytes(b"half")
    trainer = make(tmp_path, url, max_steps=7)
    trainer.train(resume_from_checkpoint=True)
    assert len(trainer.rows) == 1


def test_a_checkpoint_of_another_run_on_the_disk_is_not_mixed_up(url: str, tmp_path: Path) -> None:
    make(tmp_path / "first", url).train()
    make(tmp_path / "other", None, learning_rate=0.1).train()
    with pytest.raises(StateError, match=r"checkpoint-6 and s3://.*/checkpoint-6 are checkpoints of different runs"):
        make(tmp_path / "other", url).train(resume_from_checkpoint=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("optimizer.pt", b"half", "optimizer.pt has 4 bytes, and had"),
        ("optimizer.pt", None, "optimizer.pt failed"),
        ("training_args.bin", None, "training_args.bin failed"),  # `last_complete_checkpoint` does not need this file
    ],
)
def test_a_copy_that_another_program_damaged_is_an_error(
    url: str, name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    make(tmp_path / "first", url).train()
    files, path = fsspec.core.url_to_fs(f"{url}/checkpoint-6/{name}")
    files.rm(path) if content is None else files.pipe_file(path, content)
    with pytest.raises(StateError, match=message):
        make(tmp_path / "second", url).train(resume_from_checkpoint=True)
    assert last_complete_checkpoint(tmp_path / "second") is None
    trainer = make(tmp_path / "second", url)
    trainer.train(resume_from_checkpoint=f"{url}/checkpoint-4")  # the remedy
    assert len(trainer.rows) == 2


def test_mistakes_are_errors_before_the_training(url: str, server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        StateError, match="writing s3://no-such-bucket/run/samsum-stream-checkpoints.json failed: .*; check the path"
    ):
        make(tmp_path, "s3://no-such-bucket/run").train()
    with server.broken(1.0, kinds=(DOWN,)), pytest.raises(StateError, match="writing s3://rows/.* failed"):
        make(tmp_path, url).train()
    with pytest.raises(StateError, match="s3://rows/what is not the URL of a checkpoint; give one that ends in"):
        make(tmp_path, url).train(resume_from_checkpoint="s3://rows/what")
    with pytest.raises(StateError, match=r"checkpoint-9 is no complete checkpoint .*; choose one of the steps \[\]"):
        make(tmp_path, url).train(resume_from_checkpoint=f"{url}/checkpoint-9")
    trainer = make(tmp_path, None)
    trainer.args.output_dir = "s3://rows/outputs"
    with pytest.raises(ConfigError, match="output_dir must be a local folder, .* got s3://rows/outputs; give a folder"):
        small_stream().attach(Recorder(make_model("llama"), trainer.args))


@pytest.mark.parametrize("limit", [None, 0, -1])
def test_without_a_limit_all_copies_are_kept(url: str, limit: int | None, tmp_path: Path) -> None:
    make(tmp_path, url, save_total_limit=limit).train()
    assert [*status_of(url)] == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]


def test_signs_of_patterns_in_a_url_are_names(url: str, tmp_path: Path) -> None:
    for name in ("run1", "run[12]", "run*"):
        make(tmp_path / name, f"{url}/{name}", save_total_limit=1).train()
    assert status_of(f"{url}/run1") == status_of(f"{url}/run[12]") == {"checkpoint-6": "complete"}
    second = make(tmp_path / "second", f"{url}/run*", max_steps=7)
    second.train(resume_from_checkpoint=True)
    assert len(second.rows) == 1


def test_checkpoints_of_a_run_that_went_on_elsewhere_are_set_aside_on_the_disk(
    url: str, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with server.broken(1.0, kinds=(DOWN,), where="checkpoint-6"):
        make(tmp_path, url).train()
    make(tmp_path, url, max_steps=5).train(resume_from_checkpoint=f"{url}/checkpoint-2")
    assert "checkpoint-6 is newer than step 4, where this run is: renamed to set-aside-checkpoint-6" in caplog.text
    trainer = make(tmp_path, url, max_steps=6)
    trainer.train(resume_from_checkpoint=True)
    assert len(trainer.rows) == 1


def test_a_download_that_fails_leaves_the_disk_as_it_was(url: str, server: Server, tmp_path: Path) -> None:
    make(tmp_path, url).train()
    (tmp_path / "checkpoint-6" / "optimizer.pt").write_bytes(b"half")
    before = files_at(str(tmp_path / "checkpoint-6"))
    with (
        server.broken(1.0, kinds=(DOWN,), where="checkpoint-6/scheduler.pt"),
        pytest.raises(StateError, match="failed"),
    ):
        make(tmp_path, url).train(resume_from_checkpoint=True)
    assert files_at(str(tmp_path / "checkpoint-6")) == before


def test_a_last_checkpoint_without_a_copy_is_tried_again_and_named(
    url: str, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with server.broken(1.0, kinds=(DOWN,), where="checkpoint-6"):
        make(tmp_path, url).train()
    assert f"checkpoint-6 is the last checkpoint, and has no copy in {url}" in caplog.text
    trainer = make(tmp_path / "second", url)
    trainer.add_callback(AtStep({6: lambda: None}))
    with ExitStack() as outage:
        outage.enter_context(server.broken(1.0, kinds=(DOWN,), where="checkpoint-6"))
        trainer.callback_handler.callbacks.insert(0, AtEnd(outage.close))
        trainer.train()
    assert last_complete_checkpoint(url) == f"{url}/checkpoint-6"


def test_an_overwritten_copy_has_no_file_of_the_earlier_run(url: str, tmp_path: Path) -> None:
    put(f"{url}/checkpoint-2/rng_state_7.pth", b"of more ranks")
    make(tmp_path, url).train()
    assert f"{'checkpoint-2'}/rng_state_7.pth" not in files_at(url)


def test_a_resume_on_another_machine_warns_of_nothing(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path / "first", url).train()
    caplog.clear()
    make(tmp_path / "second", url, max_steps=7).train(resume_from_checkpoint=True)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING and "checkpoint" in record.msg]


@pytest.mark.parametrize("location", ["", "outputs", "file:///outputs", Path("outputs")])
def test_checkpoints_must_be_a_url(location: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="checkpoints must be the URL of a store, such as s3://bucket/run, got"):
        make(tmp_path, location)


def test_a_file_url_is_a_folder_of_the_disk(tmp_path: Path) -> None:
    make(tmp_path, None).train()
    checkpoint = f"file://{tmp_path}/checkpoint-6"
    assert last_complete_checkpoint(f"file://{tmp_path}") == str(tmp_path / "checkpoint-6")
    trainer = make(tmp_path, None, max_steps=7)
    trainer.train(resume_from_checkpoint=checkpoint)
    assert len(trainer.rows) == 1


@pytest.mark.slow
def test_two_nodes_without_a_common_disk_copy_the_files_of_both(url: str, server: Server, tmp_path: Path) -> None:
    """A job of two nodes is lost. One process continues, and two new nodes continue from its checkpoint."""
    options = ("--lanes", 4, "--max-steps", 9, "--copies", url, "--save-steps", 2)

    def run(jobs: Jobs, name: str, *, nodes: int, until: int) -> dict[int, Any]:
        endpoint = f"--master-port={free_port()}"
        started = [
            jobs.launch(
                *("-m", "torch.distributed.run", f"--nnodes={nodes}", f"--node-rank={node}", endpoint),
                *("-m", "tests.jobs.trainer", tmp_path / f"{name}-{node}", *options),
                *("--accumulation", 2 // nodes, "--until", until, "--resume"),
                FSSPEC_S3=json.dumps(server.options),
            )
            for node in range(nodes)
        ]
        for job in started:
            job.finish()
        (logs := tmp_path / name).mkdir()
        for log in tmp_path.glob(f"{name}-*/*.log"):
            shutil.copy(log, logs)
        return steps_of(logs)

    with Jobs(tmp_path) as jobs:
        first = run(jobs, "first", nodes=2, until=4)
        assert {"rng_state_0.pth", "rng_state_1.pth"} <= files_at(f"{url}/checkpoint-4").keys()
        second = run(jobs, "second", nodes=1, until=6)
        third = run(jobs, "third", nodes=2, until=9)
        steps = {**first, **second, **third}
        files, path = fsspec.core.url_to_fs(url)
        files.rm(path, recursive=True)
        whole = run(jobs, "whole", nodes=1, until=9)
    assert [*second] == [5, 6]
    assert [*third] == [7, 8, 9]
    assert [step.rows for step in steps.values()] == [step.rows for step in whole.values()]
    assert [step.loss for step in steps.values()] == pytest.approx([step.loss for step in whole.values()], abs=1e-4)
