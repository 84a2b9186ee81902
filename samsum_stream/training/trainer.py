"""The Hugging Face Trainer follows the stream: its batches, epochs, checkpoints and logs.

Nothing is subclassed: a Trainer asks its own attributes for loaders, and its callbacks what to save.

    Trainer ──get_train_dataloader──▶ TrainEpochs ──each `for` one epoch──▶ StreamLoader of this rank
    trainer_state.json ◀── DataPosition ◀──at a step that saves── Follower, which gathers the positions of all ranks
"""

import functools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch.distributed
from transformers import Trainer, TrainerCallback, TrainerControl, TrainingArguments
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.trainer_callback import ExportableState

from samsum_stream.config import StreamConfig
from samsum_stream.errors import ConfigError, StateError
from samsum_stream.errors.wording import shown
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.loader.processes.ranks import is_distributed
from samsum_stream.loader.state.state import State, merge_states
from samsum_stream.loader.stats import Stats
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.training.evaluation import evaluate_by_tokens
from samsum_stream.values.examples import IGNORE_INDEX

logger = logging.getLogger(__name__)


@runtime_checkable
class Stream(Protocol):
    """What a Trainer is attached to: an `SFTStream`, which stands above this module."""

    config: StreamConfig
    pipeline: Pipeline
    stats: Stats

    def fit(self, model: Any) -> None: ...
    def loader(self, **kwargs: Any) -> StreamLoader: ...


def attach(stream: Stream, trainer: Any, *, eval_stream: Stream | None = None) -> None:
    """Let a Trainer train on the stream; see `SFTStream.attach`."""
    _require_attachable(stream, trainer)
    _agree(stream, trainer)
    if not trainer.model_accepts_loss_kwargs and trainer.compute_loss_func is None:
        trainer.compute_loss_func = mean_over_all_labels
    if eval_stream is not None:
        if not isinstance(eval_stream, Stream):
            raise ConfigError(f"attach: eval_stream must be an SFTStream; got {shown(eval_stream)}")
        trainer.eval_dataset = eval_stream
    eval_streams = _eval_streams(trainer)
    if any(each is stream for each in eval_streams):
        raise ConfigError("attach: the stream that is trained cannot be the one that is evaluated; make another one")
    for each in (stream, *eval_streams):
        with trainer.accelerator.autocast():
            each.fit(trainer.model)
    follower = Follower(stream, trainer)
    trainer.add_callback(DataPosition())
    trainer.add_callback(follower)
    trainer.get_train_dataloader = follower.train_dataloader
    trainer.log = functools.partial(follower.log, trainer.log)
    trainer.get_eval_dataloader = functools.partial(_eval_dataloader, trainer, trainer.get_eval_dataloader)
    trainer.evaluation_loop = functools.partial(evaluate_by_tokens, trainer, trainer.evaluation_loop)


class TrainEpochs:
    """What the Trainer iterates over: each `for` is the rest of one epoch, from workers that live through all.

    Attributes:
        num_slots: Places for tokens in the batches so far, padding included.
    """

    def __init__(self, loader: StreamLoader, *, num_epochs: int | None) -> None:
        self.loader, self.num_epochs = loader, num_epochs
        self.num_slots = 0
        self._batches: Iterator[dict[str, Any]] | None = None

    def __len__(self) -> int:
        """Batches of this rank in an epoch.

        Raises:
            TypeError: the stream has no end, and so no epochs that the Trainer could count.
        """
        return len(self.loader) // (self.num_epochs or 1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._batches is None:
            self._batches = iter(self.loader)
        ends, ranks = self.loader.ends, self.loader.ranks
        left = None if ends is None else -(-ends.left_in_epoch(self.loader.batch) // ranks.world_size)
        for batch in islice(self._batches, left):
            self.num_slots += batch["input_ids"].numel()
            yield batch

    def close(self) -> None:
        """Let the workers end. A collector that found them in a cycle with the Trainer would wait for each of them."""
        if self._batches is not None:
            self._batches.close()  # type: ignore[attr-defined]  # it is a generator
            self._batches = None


class DataPosition(TrainerCallback, ExportableState):
    """What `trainer_state.json` keeps: the state of all ranks as it was after a step.

    The Trainer may make it anew from what it has kept (`restore_callback_states_from_checkpoint`), so it holds values
    alone.
    """

    def __init__(self) -> None:
        self.global_step, self.num_processes, self.batches_per_step = 0, 1, 1
        self.position: State | None = None

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": dict(vars(self))}


class Follower(TrainerCallback):
    """Keeps the position of what was trained, reads on from it, and mends what the Trainer knows of epochs."""

    def __init__(self, stream: Stream, trainer: Any) -> None:
        self.stream, self.trainer = stream, trainer
        self.epochs: TrainEpochs
        self._logged_at, self._logged_tokens = 0.0, 0
        self._first_tokens, self._first_waited = 0, 0.0

    def train_dataloader(self) -> TrainEpochs:
        """The stream from its beginning, as a new `trainer.train()` asks for it."""
        arguments = self.trainer.args
        callbacks = self.trainer.callback_handler.callbacks
        callbacks.append(callbacks.pop(callbacks.index(self)))  # behind those that ask for a step to be saved
        loader = self.stream.loader(
            num_workers=arguments.dataloader_num_workers,
            pin_memory=arguments.dataloader_pin_memory and torch.cuda.is_available(),
            prefetch_factor=arguments.dataloader_prefetch_factor,
            device_mesh=self.trainer.accelerator.torch_device_mesh,
            batches_per_step=arguments.gradient_accumulation_steps,
        )
        self.epochs = TrainEpochs(loader, num_epochs=self.stream.pipeline.epochs)
        return self.epochs

    def on_train_begin(self, args: TrainingArguments, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        name = DataPosition.__name__
        if state.global_step:
            self._go_on(state.stateful_callbacks.get(name), global_step=state.global_step)
            self._mend_epoch(state)
        state.stateful_callbacks[name] = DataPosition().state()  # a checkpoint may hold none, or several
        self._logged_at, self._logged_tokens = time.perf_counter(), self.stream.stats.tokens
        self._first_tokens, self._first_waited = self._logged_tokens, self.stream.stats.seconds_waited

    def on_step_end(self, args: TrainingArguments, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        self._mend_epoch(state)
        ends = self.epochs.loader.ends
        if ends is not None and self.epochs.loader.batch >= ends.end_batch:
            control.should_training_stop = True  # sooner than the Trainer, where other ranks changed what a step is
        may_save_best = control.should_evaluate and args.save_strategy == "best"
        if control.should_save or may_save_best:
            self._keep(state)

    def on_epoch_end(self, args: TrainingArguments, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        self.on_step_end(args, state, control)

    def on_train_end(self, args: TrainingArguments, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        self.epochs.close()

    def log(self, log: Any, logs: Mapping[str, float], *args: Any, **kwargs: Any) -> None:
        """The Trainer's own `log`, with what the data was like where it logs a loss."""
        log({**logs, **self.metrics()} if "loss" in logs else logs, *args, **kwargs)

    def metrics(self) -> dict[str, float]:
        """This rank's data so far; `tokens_per_second` since the last time."""
        stats, now = self.stream.stats, time.perf_counter()
        since, self._logged_at = now - self._logged_at, now
        tokens, self._logged_tokens = stats.tokens - self._logged_tokens, stats.tokens
        return {
            "data/tokens_per_second": tokens / since,
            "data/efficiency": stats.efficiency,
            "data/padding": 1 - (stats.tokens - self._first_tokens) / max(self.epochs.num_slots, 1),
            "data/trained_share": stats.trained_tokens / max(stats.tokens, 1),
            "data/rows_dropped": stats.dropped.total(),
            "data/rows_truncated": stats.truncated.total(),
            "data/rows_skipped": stats.skipped.total(),
            "data/seconds_waited": stats.seconds_waited - self._first_waited,
            "data/seconds_waited_for_files": stats.seconds_waited_for_files,
        }

    def _mend_epoch(self, state: Any) -> None:
        """The Trainer counts from the start of the epoch that it goes on with, the data from the beginning."""
        epoch = self.epochs.loader.epoch
        state.epoch = state.global_step / state.max_steps if epoch is None else epoch

    def _keep(self, state: Any) -> None:
        callbacks = self.trainer.callback_handler.callbacks
        kept = next(callback for callback in callbacks if isinstance(callback, DataPosition))
        kept.global_step, kept.num_processes = state.global_step, self.trainer.args.world_size
        kept.batches_per_step = self._batches_per_step
        kept.position = gathered_state(self.epochs.loader)

    def _go_on(self, found: Any, *, global_step: int) -> None:
        attributes = found["attributes"] if isinstance(found, dict) else {"position": None, "global_step": None}
        position = attributes["position"]
        if position is None or attributes["global_step"] != global_step:
            raise StateError(
                f"the checkpoint of step {global_step} has no position in the data: it was saved by a Trainer that "
                "was not attached, or outside of a step; take another checkpoint, or train(), with the model "
                "loaded from it, to begin with the data anew"
            )
        if self.epochs.num_epochs is not None and attributes["batches_per_step"] != self._batches_per_step:
            raise StateError(
                f"a step was {attributes['batches_per_step']} batches (ranks x gradient_accumulation_steps) and is "
                f"{self._batches_per_step} now, so the steps that are left would not be those of the rows that are "
                "left; keep the product, or train with max_steps"
            )
        self._load(position)
        logger.info("the data goes on at global batch %d", position["batch"])

    @property
    def _batches_per_step(self) -> int:
        return int(self.epochs.loader.ranks.world_size * self.trainer.args.gradient_accumulation_steps)

    def _load(self, position: State) -> None:
        """More epochs than at first are well where they leave those that were begun as they are."""
        loader, epochs = self.epochs.loader, self.epochs.num_epochs
        before = position["fingerprint"]["epochs"]
        grows = epochs is not None and before is not None and epochs >= before
        loader.load_state_dict(position, ignore=["epochs"] if grows else [])
        if loader.ends is not None and loader.ends.num_batches != position["pass"]["min_batches"]:
            raise StateError(
                f"num_train_epochs: with {epochs} instead of {before} epochs, a lane has {loader.ends.num_batches} "
                f"batches in each instead of {position['pass']['min_batches']}, and the one that was begun could not "
                f"go on; go on with {before} epochs"
            )


def mean_over_all_labels(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The loss for models that do not take the number of labels of a whole step."""
    logits = outputs["logits"]
    loss: torch.Tensor = ForCausalLMLoss(logits, labels, logits.shape[-1], num_items_in_batch)
    return loss


def gathered_state(loader: StreamLoader) -> State:
    """The state of all ranks, on each of them; processes that share rows have the same one."""
    found: list[Any] = [(loader.ranks.rank, loader.state_dict())]
    if is_distributed():
        found *= torch.distributed.get_world_size()
        torch.distributed.all_gather_object(found, found[0])
    return merge_states(list(dict(found).values()))


def _require_attachable(stream: Stream, trainer: Any) -> None:
    if not isinstance(trainer, Trainer):
        raise ConfigError(f"attach takes a transformers.Trainer; got {shown(trainer)}")
    if any(isinstance(callback, DataPosition) for callback in trainer.callback_handler.callbacks):
        raise ConfigError("attach: a stream is attached to this trainer already; make a new trainer for another one")
    if trainer.args.auto_find_batch_size:
        raise ConfigError(
            "auto_find_batch_size: smaller batches would be others than the stream's; set it to false, and lower "
            "batch_size where memory runs out"
        )
    if stream.config.ignore_index != IGNORE_INDEX:
        raise ConfigError(
            f"{stream.config.where('ignore_index')}: the Trainer counts labels that are not {IGNORE_INDEX}, and the "
            f"config says {stream.config.ignore_index}; leave ignore_index out"
        )


def _agree(stream: Stream, trainer: Any) -> None:
    """The number of epochs is the Trainer's, the batch size the config's, where it says one."""
    arguments, config = trainer.args, stream.config
    if "batch_size" in config.model_fields_set and arguments.per_device_train_batch_size != config.batch_size:
        logger.warning(
            "per_device_train_batch_size was %d and is %d now, as batch_size in the config says",
            *(arguments.per_device_train_batch_size, config.batch_size),
        )
        arguments.per_device_train_batch_size = config.batch_size
    trainer._train_batch_size = arguments.train_batch_size  # what the Trainer logs and keeps of it
    stream.pipeline = replace(
        stream.pipeline,
        batch_size=arguments.per_device_train_batch_size,
        epochs=None if arguments.max_steps > 0 else math.ceil(arguments.num_train_epochs),
    )
    # Data is never produced and thrown away to get to a place: the position says where to read on.
    arguments.ignore_data_skip = True
    arguments.average_tokens_across_devices = True


def _eval_streams(trainer: Any) -> list[Stream]:
    found = trainer.eval_dataset
    streams = [each for each in (found.values() if isinstance(found, dict) else [found]) if isinstance(each, Stream)]
    for each in streams:
        if each.pipeline.epochs is None:
            raise ConfigError(f"{each.config.where('epochs')}: evaluation needs an end; write epochs: 1")
    return streams


def _eval_dataloader(trainer: Any, original: Callable[..., Any], eval_dataset: Any = None) -> Any:
    """A stream's own loader, from its beginning; the Trainer's for any other data."""
    found = trainer.eval_dataset if eval_dataset is None else eval_dataset
    if isinstance(found, str):
        found = trainer.eval_dataset[found]
    if not isinstance(found, Stream):
        return original(eval_dataset)
    with trainer.accelerator.autocast():
        found.fit(trainer.model)
    return found.loader(
        num_workers=trainer.args.dataloader_num_workers, device_mesh=trainer.accelerator.torch_device_mesh
    )
