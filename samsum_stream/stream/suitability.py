"""Refuses settings that do not suit the rows of a task, and warns of prompts that say little or too much."""

import logging

from samsum_stream.config import StreamConfig
from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import quoted
from samsum_stream.stream.renderers import Formats
from samsum_stream.tokenization import SpecialTokens
from samsum_stream.values.rows import Completions, Conversations, Instructions, Texts, TokenIds

logger = logging.getLogger(__name__)

_CHAT = "turns to remove the oldest turns, last_turns to remove the last ones, or drop"
_NOT_CUT: dict[type, tuple[str, tuple[str, ...], str]] = {
    Conversations: ("conversations", ("contexts", "input"), _CHAT),
    Texts: ("texts", ("contexts", "input", "turns", "last_turns"), "split, right or drop"),
    TokenIds: ("ids", ("contexts", "input", "turns"), "last_turns, right or drop"),
}
"""The rows of a kind, the truncation methods that cut what they do not have, and the methods that suit them."""


_WITHOUT_PROMPT: dict[type, tuple[str, str]] = {
    Completions: (
        "a prompt and its completion without a prompt_format_config",
        ", or write `columns: {input: prompt, response: completion}`",
    ),
    Conversations: (
        "conversations with a chat template",
        ", or choose a format such as prompt_format_config: {method: ChatMLFormat}",
    ),
    Texts: ("texts", ""),
    TokenIds: ("ids", ""),
}
"""The rows that can be written without the prompt of the config, and what gives them this prompt."""


def require_suitable(config: StreamConfig, formats: Formats, kinds: set[type]) -> None:
    """Raise `ConfigError` for settings that have no meaning for any row of a task, or a wrong one.

    Args:
        config: The config.
        formats: The formats in which rows are written.
        kinds: The kinds of content that the sources have.
    """
    chat_kinds = formats.chat_kinds
    _require_truncation(config, {Conversations if kind in chat_kinds else kind for kind in kinds})
    method, where = config.truncation_config.method, config.where("truncation_config", "method")
    if method == "turns" and Conversations in kinds and Conversations not in chat_kinds:
        raise ConfigError(
            f"{where}: turns needs a chat template; write prompt_format_config: "
            "{method: ChatTemplate}, or truncation_config: {method: last_turns}"
        )
    if config.loss_config.prompts and TokenIds in kinds:
        raise ConfigError(
            f"{config.where('loss_config', 'prompts')}: rows of ids say themselves which tokens are trained; remove "
            "this key, and name neither labels nor masks under `columns:` if all tokens are trained"
        )
    _require_columns(config, formats, kinds)


def warn_of_prompt(config: StreamConfig, formats: Formats, kinds: set[type]) -> None:
    """Warn of a prompt that no row has, of braces without a meaning, and of a response whose start nothing marks."""
    written = kinds - {Texts, TokenIds} - ({Conversations} & {*formats.chat_kinds})
    written -= {Completions} if formats.completes_prompts else set()
    if config.prompt_config.kwargs and kinds and not written:
        known = [(rows, remedy) for kind, (rows, remedy) in _WITHOUT_PROMPT.items() if kind in kinds]
        logger.warning(
            "%s: no row is written with this prompt: the rows are %s; remove this key%s",
            config.where("prompt_config", "kwargs"),
            " and ".join(rows for rows, _ in known),
            "".join(remedy for _, remedy in known),
        )
    for name, rest in formats.prompt.loose_braces.items():
        logger.warning(
            "%s: braces have no meaning from %s on, and are written as they are; double them to say so, or write the "
            "name of a column between them",
            config.where("prompt_config", "kwargs", name),
            quoted(rest),
        )
    if Instructions in kinds and Instructions not in formats.chat_kinds and not formats.prompt.has_border:
        logger.warning(
            "%s: nothing separates the input from the response: neither the prompt nor the format marks the start of "
            "the response; give the prompt a response_template such as 'Answer: {text}', or choose a "
            "prompt_format_config",
            config.where("prompt_config"),
        )


def warn_of_format(formats: Formats, special_tokens: SpecialTokens) -> None:
    """Warn if the format spells special tokens that the tokenizer does not have."""
    prompt_format = formats.prompt.format
    unknown = [text for text in prompt_format.special_strings if text not in special_tokens.ids]
    if unknown and Instructions not in formats.chat_kinds:
        logger.warning(
            "%s spells %s, which are no special tokens of this tokenizer: they are encoded as ordinary text; "
            "choose the format that the model was trained on",
            type(prompt_format).__name__,
            ", ".join(map(repr, unknown)),
        )


def _require_columns(config: StreamConfig, formats: Formats, kinds: set[type]) -> None:
    """Raise `ConfigError` if templates name columns, and rows are written with the templates and have no columns."""
    of_prompt = kinds - {*formats.chat_kinds} - ({Completions} if formats.completes_prompts else set())
    texts = {
        Conversations: "conversations have no other columns; write {text} alone",
        Completions: "rows of a prompt and a completion have no other columns; write `columns: {input: prompt, "
        "response: completion}`",
    }
    for kind in (Conversations, Completions):
        if kind in of_prompt and (names := formats.prompt.names or (() if formats.prompt.reads_input else ("text",))):
            raise ConfigError(
                f"{config.where('prompt_config', 'kwargs')}: a template names {{{names[0]}}}, and {texts[kind]}"
            )


def _require_truncation(config: StreamConfig, kinds: set[type]) -> None:
    method, where = config.truncation_config.method, config.where("truncation_config", "method")
    if method == "split" and Texts not in kinds:
        raise ConfigError(f"{where}: only texts can be split (`columns: {{text: ...}}`); write drop or another method")
    if len(kinds) == 1 and (kind := next(iter(kinds))) in _NOT_CUT:
        rows, methods, remedy = _NOT_CUT[kind]
        if method in methods:
            raise ConfigError(f'{where}: {rows} have no {method} that could be cut, got "{method}"; write {remedy}')
