"""Refuses settings that do not suit the rows of a stream."""

from collections.abc import Collection

from samsum_stream.config import StreamConfig
from samsum_stream.errors import ConfigError
from samsum_stream.values.rows import Conversations, Texts, TokenIds

_CHAT = "turns to remove the oldest turns, last_turns to remove the last ones, or drop"
_NOT_CUT: dict[type, tuple[str, tuple[str, ...], str]] = {
    Conversations: ("conversations", ("contexts", "input"), _CHAT),
    Texts: ("texts", ("contexts", "input", "turns", "last_turns"), "split, right or drop"),
    TokenIds: ("ids", ("contexts", "input", "turns"), "last_turns, right or drop"),
}
"""The rows of a kind, the truncation methods that cut what they do not have, and the methods that suit them."""


def require_suitable(config: StreamConfig, kinds: set[type], chat_kinds: Collection[type]) -> None:
    """Raise `ConfigError` for settings that have no meaning for any row of the stream, or a wrong one.

    Args:
        config: The config.
        kinds: The kinds of content that the sources have.
        chat_kinds: The kinds of rows that are written with a chat template.
    """
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


def _require_truncation(config: StreamConfig, kinds: set[type]) -> None:
    method, where = config.truncation_config.method, config.where("truncation_config", "method")
    if method == "split" and Texts not in kinds:
        raise ConfigError(f"{where}: only texts can be split (`columns: {{text: ...}}`); write drop or another method")
    if len(kinds) == 1 and (kind := next(iter(kinds))) in _NOT_CUT:
        rows, methods, remedy = _NOT_CUT[kind]
        if method in methods:
            raise ConfigError(f'{where}: {rows} have no {method} that could be cut, got "{method}"; write {remedy}')
