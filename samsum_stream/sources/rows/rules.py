"""How conversations in rows are read: the names of the fields and roles of messages, and which turns are trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import did_you_mean

SYSTEM, USER, ASSISTANT, TOOL, DEVELOPER = "system", "user", "assistant", "tool", "developer"

CALL = "function_call"
"""The role of an assistant turn whose content is the JSON of its tool calls."""

OUR_ROLES = (SYSTEM, USER, ASSISTANT, TOOL, DEVELOPER, CALL)
"""The roles to which `conversation_config.roles` can map the roles of a data set."""

USUAL_ROLES: Mapping[str, str] = MappingProxyType(
    {
        **{role: role for role in (SYSTEM, USER, ASSISTANT, TOOL)},
        DEVELOPER: SYSTEM,
        "human": USER,
        **dict.fromkeys(("gpt", "model", "bot"), ASSISTANT),
        **dict.fromkeys(("function_call", "tool_call"), CALL),
        **dict.fromkeys(("observation", "function", "ipython", "tool_response"), TOOL),
    }
)
"""The roles that are known without configuration, with our role for each."""

USUAL_FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "role": ("role", "from"),
        "content": ("content", "value"),
        "reasoning": ("reasoning_content", "reasoning", "thinking"),
        "train": ("train", "training", "weight", "loss", "loss_weight"),
        "tool_calls": ("tool_calls",),
        "tool_call_id": ("tool_call_id",),
        "name": ("name",),
    }
)
"""The fields of a message, with the names that are known without configuration."""


@dataclass(frozen=True)
class ConversationRules:
    """How the conversations of a source are read.

    Attributes:
        fields: Our name of a field of a message to its name in the rows.
        roles: A role in the rows to our role.
        consecutive: What two assistant turns in succession are: an error, or one turn.
        system: Whether system messages are kept.
        turns: The assistant turns that are trained: all, the last one, or those after the last user message.
        keeps_reasoning: Whether the reasoning of assistant turns is kept.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    consecutive: Literal["error", "merge"] = "error"
    system: Literal["keep", "drop"] = "keep"
    turns: Literal["all", "last", "last_round"] = "all"
    keeps_reasoning: bool = True

    def __post_init__(self) -> None:
        for name in self.fields:
            if name not in USUAL_FIELDS:
                raise ConfigError(
                    f"conversation_config.fields: {name!r} is not a field of a message; "
                    f"{did_you_mean(name, USUAL_FIELDS)}"
                )
        for role, ours in self.roles.items():
            if ours not in OUR_ROLES:
                raise ConfigError(
                    f"conversation_config.roles.{role}: {ours!r} is not a role; {did_you_mean(ours, OUR_ROLES)}"
                )

    @cached_property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The names that each field of a message can have; the first one that is not null is used."""
        return {**USUAL_FIELDS, **{ours: (theirs,) for ours, theirs in self.fields.items()}}

    @cached_property
    def known_roles(self) -> dict[str, str]:
        """All roles that a message can have, with our role for each."""
        return {**USUAL_ROLES, **self.roles}

    @cached_property
    def known_orders(self) -> dict[tuple[str, ...], Any]:
        """A cache of what the roles of messages mean, by the roles as rows have them."""
        return {}

    @cached_property
    def plain_names(self) -> list[tuple[str, str]]:
        """The pairs of names that the role and the content can have."""
        return [*zip(self.names["role"], self.names["content"], strict=False)]


USUAL_RULES = ConversationRules()
"""The rules without configuration."""
