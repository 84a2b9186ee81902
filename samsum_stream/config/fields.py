"""The types of values that several sections of a config have, and the names that their mappings can have."""

from typing import Annotated

from pydantic import Field

from samsum_stream.config.rules import Rule

Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31), Rule("a whole number of 32 bits, -2147483648 to 2147483647")]
PositiveInt = Annotated[int, Field(ge=1), Rule("a whole number of 1 or more")]
NaturalInt = Annotated[int, Field(ge=0), Rule("a whole number of 0 or more")]
CountOrRate = (
    Annotated[int, Field(ge=0), Rule("a number of 0 or more")]
    | Annotated[float, Field(ge=0, allow_inf_nan=False), Rule("a number of 0 or more")]
)
Weight = (  # these bounds keep the arithmetic of shares far from the limits of a float
    Annotated[int, Field(gt=0, le=10**15), Rule("a number above 0, from 1e-15 to 1e15")]
    | Annotated[float, Field(ge=1e-15, le=1e15, allow_inf_nan=False), Rule("a number above 0, from 1e-15 to 1e15")]
)
Name = Annotated[str, Field(min_length=1), Rule("non-empty text")]

Slice = Annotated[
    list[NaturalInt | None],
    Field(min_length=2, max_length=3),
    Rule("a list of start, stop and perhaps step, such as [1000, 5000], [1000, null] or [0, null, 2]"),
]

COLUMN_NAMES = (
    "input",
    "response",
    "contexts",
    "context",
    "history",
    "messages",
    "prompt",
    "completion",
    "text",
    "input_ids",
    "labels",
    "attention_mask",
    "assistant_masks",
    "completion_mask",
    "loss_mask",
    "position_ids",
    "seq_lengths",
    "system",
    "tools",
    "documents",
    "template_kwargs",
)
"""The keys that `columns` can have."""

MESSAGE_FIELDS = ("role", "content", "reasoning", "train", "tool_calls", "tool_call_id", "name")
"""The keys that `conversation_config.fields` can have."""

ROLES = ("system", "user", "assistant", "tool", "developer", "function_call")
"""The values that `conversation_config.roles` can have."""
