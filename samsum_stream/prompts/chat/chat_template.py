"""`ChatTemplate`, the format of conversations that a config names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import did_you_mean, shown
from samsum_stream.prompts.chat.template import DATE
from samsum_stream.prompts.checks import check_type

AUTO = "auto"
SPLIT, LAST_ROUND, ERROR, SKIP = "split", "last_round", "error", "skip"

OF_ROWS = frozenset({"messages", "tools", "documents"})
"""The variables of a template that are columns of the rows."""

RESERVED = OF_ROWS | {"add_generation_prompt", "strftime_now", "chat_template"}
"""The variables of a template that `template_kwargs` cannot set."""


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """The chat template of a tokenizer, and how it is used.

    Args:
        template: The template: text, a `.jinja` file, or the name of one of the tokenizer's templates. None is the
            tokenizer's own template.
        template_kwargs: Variables of the template, such as `enable_thinking`.
        thinking: The value of `enable_thinking`. With `auto`, a turn for which the template needs another value than
            its default gets the value that fits: whether the turn has reasoning.
        stop_tokens: The tokens at which generation stops, if the template writes none after an assistant turn.
        date: The date that `strftime_now` gives, as `2026-01-01`, so that all runs render the same text.
        on_rewritten_history: What happens if the template writes earlier turns in another way than it trained them.
            `split`: the next turn starts a new example. `last_round`: only the turns after the last user message are
            trained. `error`: such a row is bad.
        frames: Whether conversations of the same shape are rendered together, which is much faster.
        on_unrenderable_turn: What happens to a turn that the template does not write after its prompt. `error`: the
            row is bad. `skip`: the turn is not trained, and counted.

    Raises:
        ConfigError: an argument has a wrong type or an unknown value.
    """

    template: str | None = None
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    thinking: str | bool = AUTO
    stop_tokens: Sequence[str] | None = None
    date: str | None = None
    frames: bool = True
    on_rewritten_history: str = SPLIT
    on_unrenderable_turn: str = ERROR

    def __post_init__(self) -> None:
        if self.template is not None:
            check_type("ChatTemplate.template", self.template, str)
        check_type("ChatTemplate.template_kwargs", self.template_kwargs, Mapping)
        for name in sorted(RESERVED & {*self.template_kwargs}):
            remedy = f"give the rows a column {name}" if name in OF_ROWS else "remove it from template_kwargs"
            raise ConfigError(f"ChatTemplate.template_kwargs.{name}: the stream sets this variable; {remedy}")
        if self.stop_tokens is not None:
            check_type("ChatTemplate.stop_tokens", self.stop_tokens, Sequence)
        check_type("ChatTemplate.frames", self.frames, bool)
        if self.thinking is not True and self.thinking is not False:
            _check_choice("thinking", self.thinking, (AUTO,), others="true or false")
        _check_choice("on_rewritten_history", self.on_rewritten_history, (SPLIT, LAST_ROUND, ERROR))
        _check_choice("on_unrenderable_turn", self.on_unrenderable_turn, (ERROR, SKIP))
        _ = self.fixed_date

    @property
    def fixed_date(self) -> datetime:
        """The date that `strftime_now` gives."""
        if self.date is None:
            return DATE
        try:
            return datetime.fromisoformat(self.date)
        except (TypeError, ValueError):
            raise ConfigError(
                f"ChatTemplate.date: must be a date such as '2026-01-01'; got {shown(self.date)}; put it in quotes"
            ) from None

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the template that are the same for all rows."""
        thinking = {} if self.thinking == AUTO else {"enable_thinking": self.thinking}
        return {**self.template_kwargs, **thinking}


def _check_choice(name: str, value: object, choices: Sequence[str], *, others: str = "") -> None:
    if value not in choices:
        known = did_you_mean(str(value), choices) + (f", {others}" if others else "")
        raise ConfigError(f"ChatTemplate.{name}: must be a known name; got {shown(value)}; {known}")
