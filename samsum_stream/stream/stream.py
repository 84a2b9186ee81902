"""`SFTStream`, the face: from a config to packs and batches."""

import functools
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch.distributed.device_mesh import DeviceMesh
from torch.utils.data import IterableDataset
from transformers import PreTrainedTokenizerBase

from samsum_stream.batching.packing import BestFit, NoPacking
from samsum_stream.config import StreamConfig, load_config, parse_config
from samsum_stream.errors import ConfigError, RowError
from samsum_stream.errors.wording import counted, shown
from samsum_stream.lanes.share import Share, check_num_lanes
from samsum_stream.loader.epochs.lengths import Lengths, count_lengths, measure_lengths
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.loader.processes.ranks import Ranks, find_ranks, require_one_process, this_worker
from samsum_stream.loader.processes.threads import use_one_encoding_thread
from samsum_stream.loader.quarantine import Quarantine
from samsum_stream.loader.state.state import Fingerprint
from samsum_stream.loader.stats import Stats
from samsum_stream.loader.wire import from_buffer, to_buffer
from samsum_stream.prompts.rendering import message_of
from samsum_stream.prompts.segments import text_of
from samsum_stream.sources import IndexedSource, as_source
from samsum_stream.sources.faults import Window
from samsum_stream.sources.rows.columns import columns_of_row
from samsum_stream.stream.build import build_parts
from samsum_stream.stream.fingerprint import fingerprint_of
from samsum_stream.stream.preview import Preview, preview
from samsum_stream.tokenization import SideEncoder
from samsum_stream.training.fidelity import check, fit
from samsum_stream.training.model_report import ModelReport
from samsum_stream.training.probing import NUM_PACKS
from samsum_stream.values.batches import Pack, packs_of
from samsum_stream.values.counts import counts_of_batch
from samsum_stream.values.rows import RowPosition, Rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer

_UNSAID = "the response that the model is asked for"


class SFTStream(IterableDataset[Pack]):
    """Streams supervised fine-tuning data: rows in, packs of masked tokens out, nothing written to disk.

    Args:
        config: A config, from `load_config` or `parse_config`.
        rows: Rows in memory that take the place of the config's source: a `datasets.Dataset`, an iterable of dicts.
        tokenizer: A fast transformers tokenizer that takes the place of `base_model`'s.
        trust: Modules whose code the config may name as `path.to.module::name`.

    Attributes:
        tokenizer: The transformers tokenizer.
        collator: Turns a list of packs into a dict of tensors.
        stats: What was handed over, dropped and cut so far. Batches that a plain `DataLoader` makes in worker
            processes are not counted here; those of `loader()` are.

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
                f"SFTStream takes a config from load_config or parse_config, got {shown(config)}; for a file say "
                "SFTStream.from_yaml(path), for a dict SFTStream.from_config({...})"
            )
        self.config = config
        parts = build_parts(config, rows=rows, tokenizer=tokenizer, trust=trust)
        self.tokenizer, self.collator, self.pipeline = parts.tokenizer, parts.collator, parts.pipeline
        self.stats = Stats(self.pipeline.source.leaves)
        self._prompt, self._source_identity = parts.prompt, parts.source_identity
        self._first_epoch = 0
        self._lengths: Lengths | None = None
        self._fitted: weakref.ref[Any] | None = None

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """The stream of a YAML file; `kwargs` are those of the class."""
        return cls(load_config(path), **kwargs)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **kwargs: Any) -> Self:
        """The stream of a dict with the YAML's keys; `kwargs` are those of the class."""
        return cls(parse_config(config), **kwargs)

    def __iter__(self) -> Iterator[Pack]:
        """The packs of `epochs` passes; the next `for` goes on with the next epochs.

        Raises:
            TopologyError: there is more than one process, each of which would read every row.
        """
        require_one_process()
        use_one_encoding_thread()
        worker, num_workers = this_worker()
        pipeline = self.pipeline
        num_lanes = pipeline.lanes_for(num_workers)
        check_num_lanes(num_lanes, num_rows=pipeline.source.max_lanes, workers=num_workers)
        share = Share(0, worker=worker, num_workers=num_workers)
        order, leaves = pipeline.order(num_lanes), pipeline.source.leaves
        window, bad = Window(), set[tuple[str, str, int]]()
        for packs, _, counts, skipped in pipeline.undealt(share, order=order, first_epoch=self._first_epoch):
            batch = from_buffer(to_buffer(packs))
            counts = counts + counts_of_batch(batch, max_length=self.collator.max_length, leaves=leaves)
            window = pipeline.faults.judge(window, counts, skipped)
            bad.update((row.position.source, row.position.shard, row.position.row) for row in skipped)
            if skipped:
                pipeline.faults.require_few(len(bad), counts, skipped[-1])
            self.stats.counts += counts
            self.stats.quarantine.extend(skipped)
            yield from packs_of(batch, self._locate)
        self._first_epoch += pipeline.epochs or 0

    def __getstate__(self) -> dict[str, Any]:
        require_one_process()  # a spawned worker could not tell
        return {**self.__dict__, "_lengths": None, "_fitted": None}

    def loader(
        self,
        *,
        num_workers: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        device_mesh: DeviceMesh | None = None,
        model: "PreTrainedModel | None" = None,
        batches_per_step: int = 1,
        **kwargs: Any,
    ) -> StreamLoader:
        """A DataLoader of whole batches, each a dict of tensors, that starts at the first epoch.

        Args:
            num_workers: Processes that read and tokenize; by default none, or the config's `num_proc` where that is
                more than one.
            rank: This process among those that read different rows (data parallelism); by default that of the mesh,
                or of torch.distributed.
            world_size: How many of them there are.
            device_mesh: The mesh of a job where ranks share rows (tensor, context or pipeline parallelism).
            model: What the batches train. It is measured once that documents do not see each other in it, as by
                `check_model`, and its cache is turned off, with which transformers looks for no documents.
            batches_per_step: Batches of this rank that make an optimizer step, by accumulation: an epoch of a stream
                with an end holds a multiple of them.
            kwargs: `pin_memory`, `prefetch_factor`, `multiprocessing_context` and the like of
                `torch.utils.data.DataLoader`. Without workers, `prefetch_factor` is how many batches a thread makes
                ahead, while the model computes; by default none. With `timeout`, a worker is given up that sends
                nothing for so many seconds.

        Raises:
            TopologyError: lanes and ranks do not fit, or the rank cannot be told.
            ContaminationError: documents see each other in the model, whatever the layout, or in the one of the config.
        """
        if model is not None:
            self.fit(model)
        path = self.config.fault_config.quarantine_path
        if num_workers is None:
            num_workers = self.config.num_proc if self.config.num_proc > 1 else 0
        return StreamLoader(
            self.pipeline,
            collator=self.collator,
            stats=self.stats,
            fingerprint=self._fingerprint,
            count=self._count,
            find_ranks=functools.partial(find_ranks, rank=rank, world_size=world_size, device_mesh=device_mesh),
            num_workers=num_workers,
            batches_per_step=batches_per_step,
            quarantine=None if path is None else Quarantine(path),
            **kwargs,
        )

    def check_model(self, model: "PreTrainedModel") -> ModelReport:
        """Measure which layouts keep the documents of a batch apart in a model; `attention: auto` takes the best one.

        The first packs of the stream run through the model in every layout and one document at a time, forward and
        backward, in evaluation mode; the model is left as it was. Call it inside `torch.autocast` where you train so.

        Args:
            model: A causal language model of transformers, on its device.

        Raises:
            ContaminationError: no layout of the config's method is exact; its `report` says what was measured.
        """
        return check(model, self._first_packs(), collator=self.collator, attention=self._attention)

    def fit(self, model: "PreTrainedModel") -> None:
        """Let the batches be exact on `model`, as `loader(model=model)` does; a second call costs nothing.

        Raises:
            ContaminationError: as `loader`.
        """
        if self._fitted is None or self._fitted() is not model:
            fit(model, self._first_packs, collator=self.collator, attention=self._attention)
            self._fitted = weakref.ref(model)

    def attach(self, trainer: "Trainer", *, eval_stream: Self | None = None) -> None:
        """Let an unmodified `transformers.Trainer` train on the stream.

        It reads this rank's batches as they are, with `dataloader_num_workers` workers; packed ones are measured to be
        exact on its model. `num_train_epochs` epochs are dealt, or with `max_steps` the stream has no end, whatever
        the config says; the batch size is the config's, where it says one. The position of what was trained travels in
        `trainer_state.json`, and `trainer.train(resume_from_checkpoint=...)` goes on from there at once, on another
        number of ranks as well. Logs gain `data/` entries.

        Args:
            trainer: On every rank, before `train()`.
            eval_stream: What `evaluate()` reads, a stream with `epochs: 1`; its loss is the mean over all labels. A
                stream that is the trainer's `eval_dataset` already, or in a dict of them, is evaluated so as well.

        Raises:
            ConfigError: the trainer's arguments and the config do not fit together.
            ContaminationError: documents see each other in the model.
        """
        from samsum_stream.training.trainer import (
            attach,  # what trains takes seconds to import, and looking needs none of it
        )

        attach(self, trainer, eval_stream=eval_stream)

    def preview(self, n: int = 3, *, packs: bool = False, source: str | None = None, ids: bool = False) -> Preview:
        """The first `n` examples as the model will see them, to print or to look at in a notebook; counted nowhere.

        Args:
            n: How many examples, or packs.
            packs: Show packs as bars, in the place of examples.
            source: The name of a mixture's child, as in `stats.children`, to see that one alone.
            ids: Show each token above its id, in the place of text.

        Raises:
            ConfigError: no child has that name, or what is asked for does not fit together.
        """
        return preview(self.pipeline, self.tokenizer, n, packs=packs, source=source, ids=ids)

    def render(self, row: Mapping[str, Any]) -> str:
        """The full training text of a row, less the tokens that the tokenizer adds in front by itself.

        The eos is appended as an id, and so not spelled unless the format spells it.
        """
        return self._sides.renderer.full_text(message_of(self._rows(row, training=True), 0))

    def inference_prompt(self, row: Mapping[str, Any]) -> str:
        """What to feed the model at inference: the training text of a row, up to the response.

        Encode it with `stream.tokenizer(text)`, which adds special tokens in front as in training, and leave out the
        eos where a tokenizer appends one.
        """
        return text_of(self._sides.renderer.split(message_of(self._rows(row, training=False), 0)).prompt)

    def inference_ids(self, row: Mapping[str, Any]) -> list[int]:
        """The ids of `inference_prompt`, as training sees them."""
        return self._sides.encode_prompts(self._rows(row, training=False))[0]

    def _fingerprint(self, num_lanes: int) -> Fingerprint:
        return fingerprint_of(
            self.config,
            source=self._source_identity,
            prompt=self._prompt,
            tokenizer=self.pipeline.tokenizer.reference.serialized,
            num_lanes=num_lanes,
            batch_size=self.pipeline.batch_size,
            epochs=self.pipeline.epochs,
        )

    def _count(self, ranks: Ranks, **kwargs: Any) -> Lengths:
        """The lengths of all rows, counted once for all loaders of the stream."""
        if self._lengths is None:
            rank, world_size = ranks
            pipeline = self.pipeline
            self._lengths = count_lengths(
                pipeline.source,
                functools.partial(measure_lengths, pipeline.tokenizer),
                faults=pipeline.faults,
                rank=rank,
                world_size=world_size,
                **kwargs,
            )
        return self._lengths

    def _first_packs(self) -> list[Pack]:
        """A few packs, counted nowhere; where rows of a batch hold one example each, packs as they could be."""
        pipeline = self.pipeline
        if isinstance(pipeline.packer, NoPacking):
            pipeline = replace(pipeline, packer=BestFit(max_length=self.collator.max_length, buffer_size=64))
        batches = pipeline.undealt(Share(0), order=pipeline.order(1), first_epoch=0)
        packs = chain.from_iterable(packs_of(from_buffer(to_buffer(batch.packs)), self._locate) for batch in batches)
        return list(islice(packs, NUM_PACKS))

    @property
    def _attention(self) -> str:
        return self.config.collator_config.kwargs.attention

    @property
    def _locate(self) -> Callable[[int, int, int], RowPosition]:
        return self.pipeline.source.position

    @property
    def _sides(self) -> SideEncoder:
        return self.pipeline.tokenizer.sides

    def __repr__(self) -> str:
        pipeline = self.pipeline
        rows = "rows" if pipeline.num_rows is None else counted(pipeline.num_rows, "row")
        size, backend = pipeline.packer.max_length, pipeline.tokenizer.sides.backend.name
        return f"<SFTStream of {pipeline.source.name}: {rows}, packs of up to {size:,} tokens, backend {backend}>"

    def _rows(self, row: Mapping[str, Any], *, training: bool) -> Rows:
        """A row of the caller's, checked as those of a source are, whether it has the config's columns or our names."""
        if not isinstance(row, Mapping):
            raise RowError(
                f"a row must map column names to values, got {shown(row)}; pass a dict such as a dataset's row"
            )
        needed = ("input", "response") if training else ("input",)
        columns = columns_of_row(self.config.source_config.columns, row, needed=needed)
        for field in needed:
            if (column := columns.get(field, field)) not in row:
                raise RowError(
                    f"field {field!r} has no column {column!r} to come from; the row has "
                    f"{', '.join(map(str, row)) or 'nothing'}; pass it as {column!r} or as {field!r}",
                    field=field,
                    reason="missing_field",
                )
        if not training:
            row, columns = {**row, _UNSAID: "x"}, {**columns, "response": _UNSAID}
        source = as_source([row], name="row", columns=columns)
        assert isinstance(source, IndexedSource)
        return source.take(np.zeros(1, np.int64))
