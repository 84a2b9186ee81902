"""`SFTStream`, the public facade: from a config to packs and batches."""

import functools
import logging
import os
import weakref
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from torch.distributed.device_mesh import DeviceMesh
from torch.utils.data import IterableDataset
from transformers import PreTrainedTokenizerBase

from samsum_stream.batching.sharded_rows import for_shards
from samsum_stream.config import StreamConfig, leaf_sections, load_config, parse_config
from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import counted, shown
from samsum_stream.loader.epochs.lengths import Lengths, count_lengths, measure_lengths
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.loader.packs import read_packs
from samsum_stream.loader.processes.exit import closed_at_exit
from samsum_stream.loader.processes.meshes import num_shards_of_rows
from samsum_stream.loader.processes.ranks import Ranks, find_ranks, require_one_process
from samsum_stream.loader.quarantine.quarantine import Quarantine
from samsum_stream.loader.state.state import Fingerprint
from samsum_stream.loader.stats import Stats
from samsum_stream.pipeline.encoder import RowEncoder
from samsum_stream.prompts.segments import text_of
from samsum_stream.sources.rows.selection import Selection
from samsum_stream.stream.build import Parts, build_parts
from samsum_stream.stream.fingerprint import fingerprint_of
from samsum_stream.stream.holdout import held_out_rows, holdout_config
from samsum_stream.stream.opening import open_rows
from samsum_stream.stream.preview import Preview, preview
from samsum_stream.stream.rows import columns_of, rows_of_caller, selections_of, task_of
from samsum_stream.stream.run import UNCHANGED, with_settings
from samsum_stream.tokenization.changes import TokenizerRecord
from samsum_stream.tokenization.settings import require_no_settings
from samsum_stream.training.choosing import check, fit, prepare_to_train
from samsum_stream.training.model_report import ModelReport
from samsum_stream.training.probing import probe_packs
from samsum_stream.training.tables import require_tables
from samsum_stream.values.batches import Pack
from samsum_stream.values.rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer

logger = logging.getLogger(__name__)


class SFTStream(IterableDataset[Pack]):
    """Streams supervised fine-tuning data: rows in, packs of masked tokens out, nothing written to disk.

    Args:
        config: A config, from `load_config` or `parse_config`.
        rows: Rows in memory that replace the source of the config: a `datasets.Dataset`, an iterable of dicts.
        tokenizer: A fast transformers tokenizer that replaces the tokenizer of `base_model`.
        trust: Modules whose code the config may name as `path.to.module::name`.

    Attributes:
        tokenizer: The transformers tokenizer.
        collator: Turns a list of packs into a dict of tensors.
        tasks: How the rows of each source become examples, by its name as in `stats.children`.
        stats: What was delivered, dropped and truncated so far. Batches of `loader()` are counted; batches that a plain
            `DataLoader` produces in worker processes are not.

    Raises:
        SamsumStreamError: the config, the rows or the tokenizer break a rule.
    """

    def __init__(
        self,
        config: StreamConfig,
        *,
        rows: object = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        trust: Sequence[str] = (),
    ) -> None:
        if not isinstance(config, StreamConfig):
            raise ConfigError(
                f"SFTStream takes a config from load_config or parse_config, got {shown(config)}; for a file call "
                "SFTStream.from_yaml(path), for a dict SFTStream.from_config({...})"
            )
        if tokenizer is not None:
            require_no_settings(config.tokenizer_config, where=functools.partial(config.where, "tokenizer_config"))
        opener = functools.partial(open_rows, config, rows=rows, trust=trust)
        self._set_up(config, build_parts(config, open_rows=opener, tokenizer=tokenizer, trust=trust), trust=trust)

    def _set_up(self, config: StreamConfig, parts: Parts, *, trust: Sequence[str]) -> None:
        self.config, self._trust = config, tuple(trust)
        self.tokenizer, self.collator, self.pipeline = parts.tokenizer, parts.collator, parts.pipeline
        self.stats = Stats(self.pipeline.source.leaves)
        self.tasks, self._opened = parts.tasks, parts.opened
        self._source_identity = parts.source_identity
        uses_template = any(task.formats.uses_tokenizer for task in parts.tasks.values())
        self._tokenizer_record = TokenizerRecord.of(self.tokenizer, uses_template=uses_template)
        self._first_epoch = 0
        self._writes_quarantine = True
        self._lengths: list[Lengths] = []  # at most one; a list, because all runs of the stream share it
        self._fitted: weakref.ref[Any] | None = None

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """The stream of a YAML file; `kwargs` are the other arguments of the class."""
        return cls(load_config(path), **kwargs)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **kwargs: Any) -> Self:
        """The stream of a dict with the keys of the YAML; `kwargs` are the other arguments of the class."""
        return cls(parse_config(config), **kwargs)

    def with_run(
        self,
        *,
        epochs: int | None = UNCHANGED,
        batch_size: int = UNCHANGED,
        lanes: int | Literal["auto"] = UNCHANGED,
        quarantine: bool = UNCHANGED,
    ) -> Self:
        """A stream over the same rows with other run settings, which starts at the first epoch.

        This stream does not change. Both streams have the same tokenizer and count into the same `stats`.

        Args:
            epochs: Epochs of a run; None for an endless stream.
            batch_size: Packs in a batch.
            lanes: The number of lanes that partition the rows.
            quarantine: Whether loaders write skipped rows to the config's `quarantine_path`.

        Raises:
            ConfigError: a value breaks a rule of the config, or `epochs` is given for a source without an end.
        """
        pipeline = with_settings(self.pipeline, epochs=epochs, batch_size=batch_size, lanes=lanes)
        run = object.__new__(type(self))  # copy.copy calls __getstate__, which refuses several processes
        run.__dict__ |= {**self.__dict__, "pipeline": pipeline, "_first_epoch": 0}
        if quarantine is not UNCHANGED:
            run._writes_quarantine = quarantine
        return run

    def holdout(self, **settings: Any) -> Self:
        """The rows that training never reads, as the config's `holdout` says: one epoch, in the order of the source.

        The rows depend on the source and on `holdout` alone. This stream counts into `stats` of its own, and writes no
        list of bad rows.

        Args:
            settings: Keys of the config that differ, each as a whole: `packing_config`, `truncation_config`,
                `collator_config`, `batch_size`, `lanes` (by default `auto`).

        Raises:
            ConfigError: the config holds out no rows, or a setting is unknown or breaks a rule.
        """
        config, opened = holdout_config(self.config, settings), self._opened
        if opened.are_held_out:
            raise ConfigError("stream.holdout: the stream reads the held-out rows already; call it on the other stream")
        source = held_out_rows(opened.whole, config.holdout, where=config.where("holdout"))
        opened = opened._replace(source=source, are_held_out=True)
        parts = build_parts(config, open_rows=lambda tasks: opened, tokenizer=self.tokenizer, trust=self._trust)
        stream = object.__new__(type(self))
        stream._set_up(config, parts, trust=self._trust)
        stream._writes_quarantine = False
        return stream

    @closed_at_exit
    def __iter__(self) -> Generator[Pack]:
        """The packs of `epochs` epochs; the next `for` continues with the next epochs.

        Raises:
            TopologyError: the job has several processes, and each of them would read every row.
            ConfigError: the tokenizer was changed after the stream was made.
        """
        max_length, first_epoch = self.collator.max_length, self._first_epoch
        packs = read_packs(self.pipeline, stats=self.stats, max_length=max_length, first_epoch=first_epoch)
        for number, pack in enumerate(packs):
            if number % self.pipeline.batch_size == 0:  # the packs of a batch are encoded together
                self._require_same_tokenizer()
            yield pack
        self._first_epoch += self.pipeline.epochs or 0

    def __getstate__(self) -> dict[str, Any]:
        require_one_process()  # a spawned worker cannot know the rank
        state = {**self.__dict__, "_lengths": [], "_fitted": None}
        state.pop("_first_packs", None)
        return state

    def loader(
        self,
        *,
        num_workers: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        device_mesh: DeviceMesh | None = None,
        model: "PreTrainedModel | None" = None,
        micro_batch_size: int | None = None,
        batches_per_step: int = 1,
        **kwargs: Any,
    ) -> StreamLoader:
        """A DataLoader of whole batches, each a dict of tensors, that starts at the first epoch.

        Args:
            num_workers: The processes that read and tokenize; by default `num_proc` of the config, or none if it is 1.
            rank: The rank of this process in data parallelism; by default that of the mesh, or of torch.distributed.
            world_size: The number of ranks in data parallelism.
            device_mesh: The mesh of a job in which ranks share rows (tensor, context or pipeline parallelism).
            model: The model that the batches train. Document isolation is measured once, as by `check_model`. The
                cache of the model is turned off: with a cache, transformers does not look for packed documents.
            micro_batch_size: The packs of one dict of tensors, by default `batch_size`: a divisor or a multiple of it.
                The order and the state stay those of batches, so a run can continue with other micro-batches.
            batches_per_step: The dicts of this rank in an optimizer step. A finite epoch has whole steps.
            kwargs: Other arguments of `torch.utils.data.DataLoader`, such as `pin_memory`. Without workers, a thread
                produces `prefetch_factor` batches ahead, by default none. With `timeout`, a worker that sends nothing
                for this number of seconds is an error.

        Raises:
            TopologyError: the ranks cannot share the lanes, or the rank is unknown.
            ConfigError: the model is of another kind, or cannot run a document; the tokenizer was changed after the
                stream was made, also while batches are read.
            ContaminationError: documents see each other in the model, in every layout or in the layout of the config.
        """
        self._require_same_tokenizer()
        if model is not None and not self.fit(model):
            logger.warning(
                "%s: document isolation is not measured, because its weights are not there yet; call "
                "stream.check_model(model) when they are",
                type(model).__name__,
            )
        num_shards = num_shards_of_rows(device_mesh)
        path = self.config.fault_config.quarantine_path if self._writes_quarantine else None
        if num_workers is None:
            num_workers = self.config.num_proc if self.config.num_proc > 1 else 0
        return StreamLoader(
            self.pipeline,
            find_collator=lambda: for_shards(self.collator, num_shards),
            stats=self.stats,
            require_current=self._require_same_tokenizer,
            fingerprint=self._fingerprint,
            count=self._count,
            find_ranks=functools.partial(find_ranks, rank=rank, world_size=world_size, device_mesh=device_mesh),
            num_workers=num_workers,
            micro_batch_size=micro_batch_size,
            batches_per_step=batches_per_step,
            quarantine=None if path is None else Quarantine(path),
            **kwargs,
        )

    def check_model(self, model: "PreTrainedModel") -> ModelReport:
        """Measure which layouts isolate the documents of a batch in a model; `attention: auto` takes the best one.

        The first packs of the stream run through the model in every layout and one document at a time, forward and
        backward, in evaluation mode. The model does not change. If training uses `torch.autocast`, call this inside it.

        Args:
            model: A causal language model of transformers, on its device.

        Raises:
            ContaminationError: documents see each other in the layout of the config; its `report` has the measurements.
        """
        self._require_same_tokenizer()
        self.collator.limits = require_tables(self, model, self._first_packs)
        report, self.collator = check(model, self._first_packs, **self._layout)
        return report

    def fit(self, model: "PreTrainedModel", *, measure: bool = True) -> bool:
        """Make the batches exact on `model`, as `loader(model=model)` does; a second call costs nothing.

        Args:
            model: The model.
            measure: Whether the model is measured; its cache is turned off in any case.

        Returns:
            Whether the model is measured, or need not be; false if its weights are not there yet.

        Raises:
            ConfigError: as `loader`.
            ContaminationError: as `loader`.
        """
        self._require_same_tokenizer()
        prepare_to_train(model)
        self.collator.limits = require_tables(self, model, self._first_packs)
        is_fitted = self._fitted is not None and self._fitted() is model
        if is_fitted or not (measure and self.config.collator_config.kwargs.measure):
            return True
        collator = fit(model, self._first_packs, **self._layout)
        if collator is None:
            return False
        self.collator, self._fitted = collator, weakref.ref(model)
        return True

    def attach(
        self,
        trainer: "Trainer",
        *,
        eval_stream: Self | None = None,
        measure: bool = True,
        checkpoints: str | None = None,
    ) -> None:
        """Let an unmodified `transformers.Trainer` train on the stream.

        The Trainer reads the batches of its rank unchanged, with `dataloader_num_workers` workers. Document isolation
        is measured on its model. The Trainer decides the epochs: `num_train_epochs`, or endless with `max_steps`. The
        batch size is that of the config if the config has one. The position of what was trained is saved in
        `trainer_state.json`, and `trainer.train(resume_from_checkpoint=...)` continues from there at once, also on
        another number of ranks. Logs get `data/` entries.

        Args:
            trainer: The Trainer; call this on every rank, before `train()`.
            eval_stream: The stream that `evaluate()` reads, with `epochs: 1`; its loss is the mean over all labels. A
                stream that is the `eval_dataset` of the trainer, or in a dict of them, is evaluated in the same way.
            measure: Whether document isolation is measured, in evaluation too; `measure` of the collator in the config
                decides the same for one stream. A model whose weights are not there yet is measured at the first step.
            checkpoints: A URL of fsspec, such as `s3://bucket/run`. Each checkpoint is copied there when it is saved,
                and `train(resume_from_checkpoint=True)` finds the newest one there, too.

        Raises:
            ConfigError: the arguments of the trainer contradict the config.
            ContaminationError: documents see each other in the model.
        """
        # The import takes seconds, and commands that do not train need nothing of it.
        from samsum_stream.training.trainer import attach

        attach(self, trainer, eval_stream=eval_stream, measure=measure, checkpoints=checkpoints)

    def preview(self, n: int = 3, *, packs: bool = False, source: str | None = None, ids: bool = False) -> Preview:
        """The first `n` examples as the model sees them, for a terminal or a notebook; they are not counted.

        Args:
            n: The number of examples, or of packs.
            packs: Show packs as bars instead of examples.
            source: Show one child of a mixture only, named as in `stats.children`.
            ids: Show each token above its id instead of text.

        Raises:
            ConfigError: no child has this name, or the arguments contradict each other.
        """
        return preview(self.pipeline, self.tokenizer, n, packs=packs, source=source, ids=ids)

    def render(self, row: Mapping[str, Any], *, source: str | None = None) -> str:
        """The full training text of a row, without the tokens that the tokenizer adds at the start.

        The eos is added as an id. The text contains it only if the format spells it.

        Args:
            row: A row, with the columns of the config or our field names.
            source: The child of a mixture that the row belongs to, named as in `stats.children`; it must be given if
                the children write rows in different ways, and gives the columns of the child.

        Raises:
            RowError: the row is bad.
            ConfigError: no child has this name, or the row could belong to several children.
        """
        encoder, rows = self._read(row, source, training=True)
        return encoder.renderer.full_text(rows, 0)

    def inference_prompt(self, row: Mapping[str, Any], *, source: str | None = None) -> str:
        """The text to give to the model at inference: the training text of a row, up to the response.

        Encode it with `stream.tokenizer(text)`, which adds special tokens at the start as in training. Remove the eos
        if the tokenizer appends one. The arguments and errors are those of `render`.
        """
        encoder, rows = self._read(row, source, training=False)
        return text_of(encoder.renderer.prompt_segments(rows, 0))

    def inference_ids(self, row: Mapping[str, Any], *, source: str | None = None) -> list[int]:
        """The token ids of `inference_prompt`, as in training."""
        encoder, rows = self._read(row, source, training=False)
        return encoder.prompt_ids(rows, 0)

    def _require_same_tokenizer(self) -> None:
        self._tokenizer_record.require_unchanged(self.tokenizer)

    def _fingerprint(self, num_lanes: int) -> Fingerprint:
        return fingerprint_of(
            self.config,
            reads_holdout=self._opened.are_held_out,
            source=self._source_identity,
            selections=self._selections,
            tasks=self.tasks,
            eos=str(self.tokenizer.eos_token),
            num_lanes=num_lanes,
            batch_size=self.pipeline.batch_size,
            epochs=self.pipeline.epochs,
        )

    def _count(self, ranks: Ranks, **kwargs: Any) -> Lengths:
        """The lengths of all rows, counted once for all loaders of the stream."""
        if not self._lengths:
            pipeline, measure = self.pipeline, functools.partial(measure_lengths, self.pipeline.encoder)
            lengths = count_lengths(pipeline.source, measure, faults=pipeline.faults, **ranks._asdict(), **kwargs)
            self._lengths.append(lengths)
        return self._lengths[0]

    @functools.cached_property
    def _first_packs(self) -> list[Pack]:
        return probe_packs(self.pipeline)

    @property
    def _layout(self) -> dict[str, Any]:
        return {"collator": self.collator, "attention": self.config.collator_config.kwargs.attention}

    @property
    def _selections(self) -> dict[str, Selection]:
        return selections_of(self._opened.whole)

    def _read(self, row: Mapping[str, Any], source: str | None, *, training: bool) -> tuple[RowEncoder, Rows]:
        """A row of a caller as rows of a source, and their encoder; the errors are those of `render`."""
        built = task_of(self.tasks, self._selections, source)
        sections = {leaf.name: leaf.section for leaf in leaf_sections(self.config.source_config)}
        sources = {leaf.name: columns_of(leaf.source) for leaf in self._opened.whole.leaves}
        section, of_source = sections.get(source or ""), sources.get(source or "")
        rows = rows_of_caller(
            row,
            columns=section.columns if section else {},
            training=training,
            rules=built.task.rules,
            templates=built.task.names,
            labels=of_source.labels if of_source else {},
            function=of_source.selection.map if of_source else None,
        )
        return built.encoder, rows

    def __repr__(self) -> str:
        pipeline = self.pipeline
        rows = "rows" if pipeline.num_rows is None else counted(pipeline.num_rows, "row")
        size = pipeline.packer.max_length
        return (
            f"<SFTStream of {pipeline.source.name}: {rows}, packs of up to {size:,} tokens, backend {pipeline.backend}>"
        )
