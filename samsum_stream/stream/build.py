"""Builds the parts of a stream from its config, and warns if parts do not fit each other."""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from samsum_stream.batching.collation import COLLATORS, Collator
from samsum_stream.batching.packing import PACKERS
from samsum_stream.config import StreamConfig
from samsum_stream.errors import ConfigError, TokenizerError
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.stream.encoders import BuiltTask, build_tasks, encoder_of
from samsum_stream.stream.fingerprint import digest_of_rows, source_identity
from samsum_stream.stream.first_rows import first_rows_of
from samsum_stream.stream.opening import OpenedRows, faults_of
from samsum_stream.stream.tasks import Tasks, tasks_of
from samsum_stream.tokenization import load_tokenizer, pad_token_id, require_fast
from samsum_stream.tokenization.settings import apply_settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """The parts of a stream.

    Attributes:
        tasks: How the rows of each source become examples, by its name as in `stats.children`.
        opened: The rows.
        tokenizer: The tokenizer.
        pipeline: Rows to batches.
        collator: Batches to tensors.
        source_identity: What tells the rows from other rows, for the fingerprint.
    """

    tasks: Mapping[str, BuiltTask]
    opened: OpenedRows
    tokenizer: PreTrainedTokenizerBase
    pipeline: Pipeline
    collator: Collator
    source_identity: str


def build_parts(
    config: StreamConfig,
    *,
    open_rows: Callable[[Tasks], OpenedRows],
    tokenizer: PreTrainedTokenizerBase | None,
    trust: Sequence[str],
) -> Parts:
    """Build all parts of a stream.

    Args:
        config: The config.
        open_rows: Opens the rows for tasks, whose templates name columns.
        tokenizer: A tokenizer that replaces the one of `base_model`; None loads the tokenizer of `base_model`.
        trust: The modules that the config may import.

    Raises:
        SamsumStreamError: the config names something that does not exist or does not fit; the message names the key.
    """
    base_model = config.base_model or str(getattr(tokenizer, "name_or_path", ""))
    tasks = tasks_of(config, base_model=base_model, trust=trust)
    opened = open_rows(tasks)
    tokenizer = require_fast(_load_tokenizer(config) if tokenizer is None else tokenizer)
    packing = config.packing_config
    built, first_digest = _build_on_first_rows(config, tasks, opened, tokenizer)
    pipeline = Pipeline(
        source=opened.source,
        encoder=encoder_of(built, opened.leaves),
        packer=PACKERS[packing.method](max_length=packing.kwargs.max_length, buffer_size=packing.kwargs.buffer_size),
        batch_size=config.batch_size,
        shuffle=config.shuffle,
        seed=config.seed,
        epochs=config.epochs,
        num_lanes=None if config.lanes == "auto" else config.lanes,
        faults=faults_of(config),
        fills_batches=COLLATORS[config.collator_config.method].has_fixed_shape,
    )
    collator = build_collator(config, tokenizer)
    return Parts(built, opened, tokenizer, pipeline, collator, source_identity(opened.whole, first_digest))


def _build_on_first_rows(
    config: StreamConfig, tasks: Tasks, opened: OpenedRows, tokenizer: PreTrainedTokenizerBase
) -> tuple[dict[str, BuiltTask], str]:
    """The tasks, and a digest of the first rows, which are not kept: one of them can be as large as a book."""
    first_rows = first_rows_of(config, opened.whole, faults_of(config))
    return build_tasks(tasks, opened, first_rows, tokenizer), digest_of_rows(first_rows)


def build_collator(config: StreamConfig, tokenizer: PreTrainedTokenizerBase) -> Collator:
    """The collator of the config."""
    section = config.collator_config
    collator = COLLATORS[section.method](
        pad_token_id=pad_token_id(tokenizer),
        max_length=config.packing_config.kwargs.max_length,
        ignore_index=config.ignore_index,
        **{name: value for name, value in section.model_dump()["kwargs"].items() if name != "measure"},
    )
    if section.kwargs.attention == "full":
        logger.warning(
            "%s: with full attention, each document of a pack attends to the documents before it; use auto, unless you "
            "want this",
            config.where("collator_config", "kwargs", "attention"),
        )
    return collator


def _load_tokenizer(config: StreamConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of `base_model`."""
    if config.base_model is None:
        raise ConfigError(
            f"{config.where('base_model')}: the model of the tokenizer is missing; give a Hub id or a folder, or pass "
            "SFTStream(..., tokenizer=tokenizer)"
        )
    section, where = config.tokenizer_config, functools.partial(config.where, "tokenizer_config")
    try:
        tokenizer = load_tokenizer(config.base_model, **section.loading_kwargs)
    except TokenizerError as error:
        problem = str(error).removeprefix("base_model: ")
        raise TokenizerError(f"{config.where('base_model')}: {problem}") from None
    apply_settings(tokenizer, section, folder=config.folder, where=where)
    return tokenizer
