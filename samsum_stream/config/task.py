"""The sections of a task: how rows become examples. A child of a mixture can have sections of its own."""

import re
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from samsum_stream.config.fields import MESSAGE_FIELDS, ROLES, Name, PositiveInt
from samsum_stream.config.rules import several
from samsum_stream.config.section import Section
from samsum_stream.errors.wording import did_you_mean

ANY_LENGTH = range(1, 2**31)
"""The lengths that an example can have, in tokens."""


class PromptConfig(Section):
    """The texts of a prompt."""

    method: Name = Field(default="Prompt", description="the prompt: a registered name, or path.to.module::name")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="the arguments of the prompt")


class PromptFormatConfig(Section):
    """The prompt format of the model: roles and separators."""

    method: Name = Field(description="the format: a registered name, or path.to.module::name")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="the arguments of the format")


class ConversationConfig(Section):
    """How the messages of conversations are read."""

    fields: dict[str, str] = Field(default_factory=dict, description="the names of the fields of a message")
    roles: dict[str, Name] = Field(default_factory=dict, description="our role for each role of the rows")
    reasoning: Literal["auto", "field", "inline", "drop"] = Field(
        default="auto", description="how the reasoning of a turn reaches the chat template; drop: it is removed"
    )
    consecutive: Literal["error", "merge"] = Field(
        default="error", description="how to treat an assistant message that follows another one"
    )
    system: Literal["keep", "drop"] = Field(default="keep", description="whether system messages are kept")

    @field_validator("fields")
    @classmethod
    def _fields_are_known(cls, names: dict[str, str]) -> dict[str, str]:
        return _require_known(names, MESSAGE_FIELDS, "field")

    @field_validator("roles")
    @classmethod
    def _roles_are_known(cls, roles: dict[str, str]) -> dict[str, str]:
        unknown = {role: ours for role, ours in roles.items() if ours not in ROLES}
        if unknown:
            raise several(((role,), f"unknown role; {did_you_mean(ours, ROLES)}") for role, ours in unknown.items())
        return roles


def _require_known(names: dict[str, str], known: tuple[str, ...], what: str) -> dict[str, str]:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise several(((name,), f"unknown {what}; {did_you_mean(name, known)}") for name in unknown)
    return names


class LossConfig(Section):
    """Which tokens are trained."""

    turns: Literal["all", "last", "last_round"] = Field(
        default="all", description="the assistant turns of a conversation that are trained"
    )
    prompts: bool = Field(default=False, description="whether prompts are trained, too")
    reasoning: bool = Field(default=True, description="whether the reasoning of a turn is trained")


class TruncationKwargs(Section):
    """The arguments of the method `split`."""

    overlap: PositiveInt = Field(
        default=1, description="the tokens that a piece repeats from the piece before; they are not trained again"
    )
    at: Literal["token", "word", "line"] = Field(
        default="token", description="where a text may be split: before any token, or at the start of a word or a line"
    )


class TruncationConfig(Section):
    """Which examples are kept by their lengths, and how to treat an example that is longer than a pack."""

    method: Literal["drop", "contexts", "input", "turns", "last_turns", "right", "split", "error"] = Field(
        default="drop", description="the part to cut from an example that is too long, or split (text), drop, or error"
    )
    kwargs: TruncationKwargs = Field(default=TruncationKwargs(), description="the arguments of the method split")
    min_tokens: PositiveInt = Field(default=1, description="an example with fewer tokens is dropped")
    max_tokens: PositiveInt | None = Field(
        default=None, description="an example with more tokens is dropped, and not cut; null: no limit"
    )

    @property
    def lengths(self) -> range:
        """The lengths of the examples that are kept, in tokens before truncation."""
        return range(self.min_tokens, ANY_LENGTH.stop if self.max_tokens is None else self.max_tokens + 1)

    @model_validator(mode="after")
    def _some_length_is_kept(self) -> "TruncationConfig":
        if not self.lengths:
            text = f"must not be less than min_tokens, which is {self.min_tokens:,}, got {self.max_tokens:,}"
            raise several([(("max_tokens",), text)])
        return self

    @model_validator(mode="after")
    def _kwargs_belong_to_split(self) -> "TruncationConfig":
        if self.method != "split" and (names := sorted(self.kwargs.model_fields_set)):
            text = f'belongs to method "split", but the method is "{self.method}"; write split, or remove this key'
            raise several((("kwargs", name), text) for name in names)
        return self

    @field_serializer("kwargs")
    def _kwargs_of_split(self, kwargs: TruncationKwargs) -> dict[str, Any]:
        return kwargs.model_dump() if self.method == "split" else {}


class OwnTask(Section):
    """The sections of a task in which a child of a mixture differs from the stream, each as a whole."""

    prompt_config: PromptConfig | None = Field(
        default=None, description="the texts of a prompt of this child; null: of the stream"
    )
    prompt_format_config: PromptFormatConfig | None = Field(
        default=None, description="the prompt format of this child; null: of the stream"
    )
    conversation_config: ConversationConfig | None = Field(
        default=None, description="how the conversations of this child are read; null: as in the stream"
    )
    loss_config: LossConfig | None = Field(
        default=None, description="which tokens of this child are trained; null: as in the stream"
    )
    truncation_config: TruncationConfig | None = Field(
        default=None, description="how to treat long examples of this child; null: as in the stream"
    )

    @property
    def own(self) -> dict[str, Section]:
        """The sections that this child has, by their keys."""
        values = ((name, getattr(self, name)) for name in OwnTask.model_fields)
        return {name: value for name, value in values if value is not None}


def names_in_braces(texts: Iterable[object]) -> list[str]:
    """The texts in braces in some texts, which templates may use as names of columns."""
    return [name for text in texts if isinstance(text, str) for name in re.findall(r"\{([^{}]+)\}", text)]
