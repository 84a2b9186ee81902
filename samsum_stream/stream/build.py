"""Builds the parts of a stream from its config, and warns if parts do not fit each other."""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from samsum_stream.batching.collation import COLLATORS, Collator
from samsum_stream.batching.packing import PACKERS
from samsum_stream.config import StreamConfig
from samsum_stream.config.registry import call, resolve
from samsum_stream.errors import ConfigError, TokenizerError
from samsum_stream.errors.wording import quoted
from samsum_stream.pipeline.encoder import RowEncoder
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.prompts import FORMATS_OF_CONFIG, PROMPTS, ChatTemplate, Prompt, PromptFormat, format_for_model
from samsum_stream.prompts.ready_ids import Vocabulary
from samsum_stream.sources import Source
from samsum_stream.stream.opening import OpenedRows, faults_of
from samsum_stream.stream.renderers import Formats, build_renderer, choose_formats
from samsum_stream.stream.suitability import require_suitable
from samsum_stream.tokenization import (
    Border,
    ExampleTokenizer,
    HFBackend,
    RunEncoder,
    SpecialTokens,
    choose_backend,
    find_border,
    load_tokenizer,
    pad_token_id,
    require_fast,
    with_control_tokens,
)
from samsum_stream.tokenization.calls import require_same_calls, serialized_backend
from samsum_stream.tokenization.settings import apply_settings
from samsum_stream.tokenization.splitting import Borders, Splitter, token_texts
from samsum_stream.values.rows import Completions, Conversations, Instructions, Rows

logger = logging.getLogger(__name__)

MAX_PROBED = 20_000
"""The characters of a text of the first rows with which the tokenizer is probed."""


@dataclass(frozen=True)
class Parts:
    """The parts of a stream.

    Attributes:
        formats: The formats in which rows are written.
        opened: The rows, without the first ones.
        tokenizer: The tokenizer.
        pipeline: Rows to batches.
        collator: Batches to tensors.
    """

    formats: Formats
    opened: OpenedRows
    tokenizer: PreTrainedTokenizerBase
    pipeline: Pipeline
    collator: Collator


def build_parts(
    config: StreamConfig,
    *,
    open_rows: Callable[[Prompt], OpenedRows],
    tokenizer: PreTrainedTokenizerBase | None,
    trust: Sequence[str],
) -> Parts:
    """Build all parts of a stream.

    Args:
        config: The config.
        open_rows: Opens the rows for a prompt, whose templates name columns.
        tokenizer: A tokenizer that replaces the one of `base_model`; None loads the tokenizer of `base_model`.
        trust: The modules that the config may import.

    Raises:
        SamsumStreamError: the config names something that does not exist or does not fit; the message names the key.
    """
    base_model = config.base_model or str(getattr(tokenizer, "name_or_path", ""))
    template = chat_template_of(config, trust=trust)
    prompt = build_prompt(config, base_model=base_model, trust=trust, has_format=template is None)
    opened = open_rows(prompt)
    source, first_rows = opened.source, opened.first_rows
    tokenizer = require_fast(_load_tokenizer(config) if tokenizer is None else tokenizer)
    packing = config.packing_config
    kinds: set[type] = {type(rows.content) for rows in first_rows}
    formats = choose_formats(config, prompt, template, tokenizer, kinds)
    require_suitable(config, kinds, formats.chat_kinds)
    _require_columns(formats, kinds)
    _warn_of_braces(prompt)
    if Instructions in kinds and Instructions not in formats.chat_kinds and not prompt.has_border:
        logger.warning(
            "nothing separates the input from the response: neither the prompt nor the format marks the start of the "
            "response; give the prompt a response_template such as 'Answer: {text}', or choose a prompt_format_config"
        )
    pipeline = Pipeline(
        source=source,
        encoder=build_encoder(config, formats, tokenizer, source, first_rows),
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
    return Parts(formats, opened.without_rows(), tokenizer, pipeline, collator)


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


def chat_template_of(config: StreamConfig, *, trust: Sequence[str]) -> ChatTemplate | None:
    """The chat template that the config names; None if it names another format, or none."""
    section = config.prompt_format_config
    if section is None or section.method != ChatTemplate.__name__:
        return None
    template = call(ChatTemplate, section.kwargs, where=config.where("prompt_format_config", "kwargs"))
    assert isinstance(template, ChatTemplate)
    return template


def build_prompt(config: StreamConfig, *, base_model: str, trust: Sequence[str], has_format: bool = True) -> Prompt:
    """The prompt of the config, in its format; without a format in the config, in the format of the base model.

    Args:
        config: The config.
        base_model: The name of the base model.
        trust: The modules that the config may import.
        has_format: Whether a format writes the prompt, and not a chat template.
    """
    section = config.prompt_config
    where = config.where("prompt_config", "method")
    factory = resolve(section.method, table=PROMPTS, kind="prompt", trust=trust, where=where)
    formats = _format_kwargs(config, base_model=base_model, trust=trust) if has_format else {}
    kwargs = {**section.kwargs, **formats}
    prompt = call(factory, kwargs, where=config.where("prompt_config", "kwargs"))
    if not isinstance(prompt, Prompt):
        raise ConfigError(
            f"{where}: {section.method} must make a samsum_stream.Prompt; got {type(prompt).__name__}; return a Prompt"
        )
    return prompt


def _format_kwargs(config: StreamConfig, *, base_model: str, trust: Sequence[str]) -> dict[str, Any]:
    """The format as an argument of the prompt; empty if the arguments of the prompt contain a format."""
    section = config.prompt_format_config
    if section is not None:
        where = config.where("prompt_format_config", "method")
        factory = resolve(section.method, table=FORMATS_OF_CONFIG, kind="format", trust=trust, where=where)
        where = config.where("prompt_format_config", "kwargs")
        return {"format": call(factory, section.kwargs, where=where)}
    return {} if "format" in config.prompt_config.kwargs else {"format": format_for_model(base_model)()}


def build_encoder(
    config: StreamConfig,
    formats: Formats,
    tokenizer: PreTrainedTokenizerBase,
    source: Source,
    first_rows: Sequence[Rows],
) -> RowEncoder:
    """The encoder of rows, with the backend that gives the ids of the reference on the first rows of the source."""
    section = config.tokenizer_config
    written = () if formats.chat is None else formats.chat.written
    reference = HFBackend(with_control_tokens(serialized_backend(tokenizer), written))
    border = find_border(reference)
    special_tokens = SpecialTokens(reference, border)
    if Instructions not in formats.chat_kinds:
        _warn_of_unknown_tokens(formats.prompt.format, special_tokens)
    renderer = build_renderer(
        config,
        formats,
        bos=_added_text(tokenizer, border),
        eos=str(tokenizer.eos_token),
        joints=special_tokens.cuts.joints,
        vocabulary=Vocabulary(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id),
    )
    texts = [text[:MAX_PROBED] for rows in first_rows if len(rows) for text in renderer.render(rows).texts]
    require_same_calls(tokenizer, reference, first_rows=texts)
    backend = choose_backend(section.backend, reference, first_rows=texts, verify_every=section.verify_every)
    runs = RunEncoder(
        backend=backend,
        border=border,
        special_tokens=special_tokens,
        policy=section.special_tokens_in_rows,
        locate=functools.partial(source.position, epoch=0),
    )
    example_tokenizer = ExampleTokenizer(
        runs,
        reference=reference,
        eos_token_id=int(tokenizer.eos_token_id),
        max_length=config.packing_config.kwargs.max_length,
        truncation=config.truncation_config.method,
        trains_prompts=config.loss_config.prompts,
        splitter=_splitter(config, tokenizer),
    )
    return RowEncoder(renderer, example_tokenizer, skips=config.fault_config.on_bad_row == "skip")


def _splitter(config: StreamConfig, tokenizer: PreTrainedTokenizerBase) -> Splitter | None:
    section, max_length = config.truncation_config, config.packing_config.kwargs.max_length
    if section.method != "split":
        return None
    if section.kwargs.overlap >= max_length:
        raise ConfigError(
            f"{config.where('truncation_config', 'kwargs', 'overlap')}: must be less than max_length, which is "
            f"{max_length:,}, got {section.kwargs.overlap:,}; each piece needs a token of its own"
        )
    texts = token_texts(tokenizer.backend_tokenizer) if section.kwargs.at != "token" else []
    return Splitter(max_length, section.kwargs.overlap, Borders.of(texts, section.kwargs.at))


def _require_columns(formats: Formats, kinds: set[type]) -> None:
    """Raise `ConfigError` if templates name columns, and rows are written with the templates and have no columns."""
    of_prompt = kinds - {*formats.chat_kinds} - ({Completions} if formats.completes_prompts else set())
    texts = {
        Conversations: "conversations have no other columns; write {text} alone",
        Completions: "rows of a prompt and a completion have no other columns; write `columns: {input: prompt, "
        "response: completion}`",
    }
    for kind in (Conversations, Completions):
        if kind in of_prompt and (names := formats.prompt.names or (() if formats.prompt.reads_input else ("text",))):
            raise ConfigError(f"prompt_config.kwargs: a template names {{{names[0]}}}, and {texts[kind]}")


def _warn_of_braces(prompt: Prompt) -> None:
    for name, rest in prompt.loose_braces.items():
        logger.warning(
            "prompt_config.kwargs.%s: braces have no meaning from %s on, and are written as they are; double them to "
            "say so, or write the name of a column between them",
            name,
            quoted(rest),
        )


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


def _added_text(tokenizer: PreTrainedTokenizerBase, border: Border) -> str:
    """The text of the tokens that the tokenizer adds at the start."""
    return "".join(tokenizer.convert_ids_to_tokens(border.added.tolist()))


def _warn_of_unknown_tokens(prompt_format: PromptFormat, special_tokens: SpecialTokens) -> None:
    """Warn if the format spells special tokens that the tokenizer does not have."""
    unknown = [text for text in prompt_format.special_strings if text not in special_tokens.ids]
    if unknown:
        logger.warning(
            "%s spells %s, which are no special tokens of this tokenizer: they are encoded as ordinary text; "
            "choose the format that the model was trained on",
            type(prompt_format).__name__,
            ", ".join(map(repr, unknown)),
        )
