"""From a config to the parts of a stream: each one is built here, checked against the others, and warned about."""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from samsum_stream.batching.collation import COLLATORS, Collator
from samsum_stream.batching.packing import PACKERS
from samsum_stream.config import MIXTURE, MixtureKwargs, SourceConfig, StreamConfig
from samsum_stream.config.registry import call, resolve
from samsum_stream.errors import ConfigError, RowError, SourceError, TokenizerError
from samsum_stream.errors.wording import did_you_mean
from samsum_stream.loader.processes.progress import waiting
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.prompts import FORMATS, PROMPTS, Prompt, PromptFormat, format_for_model
from samsum_stream.prompts.rendering import RowRenderer
from samsum_stream.sources import SOURCES, Mixture, Source, as_source, default_name
from samsum_stream.sources.faults import SKIP, Faults
from samsum_stream.sources.mixture import Mix
from samsum_stream.sources.rows.gather import OR_THE_ROW
from samsum_stream.stream.fingerprint import source_identity
from samsum_stream.tokenization import (
    Border,
    HFBackend,
    RowTokenizer,
    SideEncoder,
    SpecialTokens,
    choose_backend,
    find_border,
    load_tokenizer,
    pad_token_id,
    require_fast,
)
from samsum_stream.values.rows import Rows

logger = logging.getLogger(__name__)

NUM_PROBED_ROWS = 64


@dataclass(frozen=True)
class Parts:
    """What a stream is composed of; `source_identity` is what its fingerprint says of the rows."""

    prompt: Prompt
    source_identity: str
    tokenizer: PreTrainedTokenizerBase
    pipeline: Pipeline
    collator: Collator


def build_parts(
    config: StreamConfig, *, rows: object, tokenizer: PreTrainedTokenizerBase | None, trust: Sequence[str]
) -> Parts:
    """Build the parts that `config` names; `rows` and `tokenizer` that are given take the place of its own."""
    base_model = config.base_model or str(getattr(tokenizer, "name_or_path", ""))
    prompt = build_prompt(config, base_model=base_model, trust=trust)
    source = build_source(config, rows=rows, trust=trust)
    tokenizer = require_fast(_load_tokenizer(config) if tokenizer is None else tokenizer)
    packing, collating = config.packing_config, config.collator_config
    faults = Faults(config.fault_config.on_bad_row == "skip", config.fault_config.max_bad_rows)
    first_rows = _first_rows(config, source, faults)
    pipeline = Pipeline(
        source=source,
        tokenizer=build_row_tokenizer(config, prompt, tokenizer, source, first_rows),
        packer=PACKERS[packing.method](max_length=packing.kwargs.max_length, buffer_size=packing.kwargs.buffer_size),
        batch_size=config.batch_size,
        shuffle=config.shuffle,
        seed=config.seed,
        epochs=config.epochs,
        num_lanes=None if config.lanes == "auto" else config.lanes,
        faults=faults,
    )
    collator = COLLATORS[collating.method](
        pad_token_id=pad_token_id(tokenizer),
        max_length=packing.kwargs.max_length,
        ignore_index=config.ignore_index,
        **collating.model_dump()["kwargs"],
    )
    if collating.kwargs.attention == "full":
        logger.warning(
            "%s: with full attention, each document of a pack sees those before it; take auto, unless that is meant",
            config.where("collator_config", "kwargs", "attention"),
        )
    return Parts(prompt, source_identity(source, first_rows), tokenizer, pipeline, collator)


def build_source(config: StreamConfig, *, rows: object, trust: Sequence[str]) -> Source:
    """The rows that are given, else those that the config names."""
    section = config.source_config
    if rows is not None:
        return as_source(rows, name="rows", columns=section.columns)
    if section.method is None:
        raise ConfigError(
            f"{config.where('source_config', 'method')}: says where rows come from, and is missing; "
            f"{did_you_mean('', [*SOURCES, MIXTURE])}, path.to.module::name; or pass SFTStream(..., rows=rows)"
        )
    where = functools.partial(config.where, "source_config")
    return _open_source(section.method, section, name=None, where=where, trust=trust)


def _open_source(
    named: str, section: SourceConfig, *, name: str | None, where: Callable[..., str], trust: Sequence[str]
) -> Source:
    """The source of a section; `name` is what a mixture calls it."""
    if named == MIXTURE:
        return _open_mixture(
            MixtureKwargs.model_validate(section.kwargs), name=name or MIXTURE, where=where, trust=trust
        )
    known: dict[str, Any] = {**SOURCES, MIXTURE: None}
    method = resolve(named, table=known, kind="source", trust=trust, where=where("method"))
    try:
        return as_source(
            functools.partial(call, method, section.kwargs, where=where("kwargs")),
            name=name or default_name(named, section.kwargs),
            columns=section.columns,
        )
    except SourceError as error:
        raise SourceError(f"{where()}: {error}") from error.__cause__


def _open_mixture(kwargs: MixtureKwargs, *, name: str, where: Callable[..., str], trust: Sequence[str]) -> Mixture:
    children = []
    for child, section in kwargs.sources.items():
        below = functools.partial(where, "kwargs", "sources", child)
        children.append((child, _open_source(section.method, section, name=child, where=below, trust=trust)))
    weights = tuple(section.weight for section in kwargs.sources.values())
    return Mixture(children, name=name, mix=Mix(weights, kwargs.weight_by, kwargs.stopping_strategy))


def build_prompt(config: StreamConfig, *, base_model: str, trust: Sequence[str]) -> Prompt:
    """The prompt in its format; without a format in the config, in that of the base model."""
    section, style = config.prompt_config, config.prompt_format_config
    method = resolve(
        section.method, table=PROMPTS, kind="prompt", trust=trust, where=config.where("prompt_config", "method")
    )
    kwargs: Mapping[str, Any] = section.kwargs
    if style is not None:
        where = config.where("prompt_format_config", "method")
        format_method = resolve(style.method, table=FORMATS, kind="format", trust=trust, where=where)
        where = config.where("prompt_format_config", "kwargs")
        kwargs = {**kwargs, "format": call(format_method, style.kwargs, where=where)}
    elif "format" not in kwargs:
        kwargs = {**kwargs, "format": format_for_model(base_model)()}
    prompt = call(method, kwargs, where=config.where("prompt_config", "kwargs"))
    if not isinstance(prompt, Prompt):
        raise ConfigError(
            f"{config.where('prompt_config', 'method')}: {section.method} must make a samsum_stream.Prompt; "
            f"got {type(prompt).__name__}"
        )
    if not prompt.has_border:
        logger.warning(
            "nothing separates the input from the response: neither the prompt nor the format says where the answer "
            "starts; give the prompt a response_template such as 'Answer: {text}', or choose a prompt_format_config"
        )
    return prompt


def build_row_tokenizer(
    config: StreamConfig, prompt: Prompt, tokenizer: PreTrainedTokenizerBase, source: Source, first_rows: Rows
) -> RowTokenizer:
    """The tokenizer behind its border, with the backend that is proven on the source's first rows."""
    section = config.tokenizer_config
    reference = HFBackend(tokenizer.backend_tokenizer.to_str())
    border = find_border(reference)
    special_tokens = SpecialTokens(reference, border)
    _warn_of_unknown_tokens(prompt.format, special_tokens)
    renderer = RowRenderer(prompt, bos=_added_text(tokenizer, border), eos=str(tokenizer.eos_token))
    backend = choose_backend(
        section.backend,
        reference,
        first_rows=[text for side in renderer.texts(first_rows) for text in side],
        verify_every=section.verify_every,
    )
    sides = SideEncoder(
        renderer,
        backend=backend,
        border=border,
        special_tokens=special_tokens,
        policy=section.special_tokens_in_rows,
        locate=functools.partial(source.position, epoch=0),
    )
    return RowTokenizer(
        sides,
        reference=reference,
        eos_token_id=int(tokenizer.eos_token_id),
        max_length=config.packing_config.kwargs.max_length,
        truncation=config.truncation_config.method,
    )


def _first_rows(config: StreamConfig, source: Source, faults: Faults) -> Rows:
    """Where all of them are bad, they are so for one reason, which is told instead of skipped."""
    with waiting(f"reading the first rows of {source.name}") if source.is_remote else nullcontext():
        block = source.first_block(NUM_PROBED_ROWS)
        rows = SKIP.take(block.take, np.arange(block.num_rows))
        if any(bad.reason == "missing_field" for _, bad in rows.skipped):
            _require_columns(config, source)
        if not rows.skipped or (len(rows) and faults.skips):
            return rows
        if not faults.skips:
            return block.take(np.arange(block.num_rows))  # raises the first error
        try:
            return block.take(np.arange(1))
        except RowError as error:
            told = f"{error} (not skipped, because all of the first {block.num_rows} rows are bad)"
            raise RowError(told, position=error.position, field=error.field, reason=error.reason) from None


def _require_columns(config: StreamConfig, source: Source) -> None:
    """Raises `SourceError` where no first row of a source has a column: the config is wrong then, and not the rows."""
    for leaf in source.leaves:
        block = leaf.source.first_block(NUM_PROBED_ROWS)
        rows = SKIP.take(block.take, np.arange(block.num_rows))
        if len(rows) or {bad.reason for _, bad in rows.skipped} != {"missing_field"}:
            continue
        path = [key for child in filter(None, leaf.name.split("/")) for key in ("kwargs", "sources", child)]
        try:
            block.take(np.arange(1))
        except RowError as error:
            number = "the only row" if block.num_rows == 1 else f"all of the first {block.num_rows} rows"
            problem = f"{str(error).removesuffix(OR_THE_ROW)}; so it is in {number}"
            raise SourceError(f"{config.where('source_config', *path, 'columns')}: {problem}") from None


def _load_tokenizer(config: StreamConfig) -> PreTrainedTokenizerBase:
    if config.base_model is None:
        raise ConfigError(
            f"{config.where('base_model')}: says whose tokenizer to load, and is missing; give a Hub id or a folder, "
            "or pass SFTStream(..., tokenizer=tokenizer)"
        )
    try:
        return load_tokenizer(config.base_model)
    except TokenizerError as error:
        problem = str(error).removeprefix("base_model: ")
        raise TokenizerError(f"{config.where('base_model')}: {problem}") from error.__cause__


def _added_text(tokenizer: PreTrainedTokenizerBase, border: Border) -> str:
    """What the tokens that the tokenizer adds in front look like in a text."""
    return "".join(tokenizer.convert_ids_to_tokens(border.added.tolist()))


def _warn_of_unknown_tokens(prompt_format: PromptFormat, special_tokens: SpecialTokens) -> None:
    unknown = [text for text in prompt_format.special_strings if text not in special_tokens.ids]
    if unknown:
        logger.warning(
            "%s spells %s, which are no special tokens of this tokenizer: they are encoded as ordinary text; "
            "choose the format that the model was trained on",
            type(prompt_format).__name__,
            ", ".join(map(repr, unknown)),
        )
