"""The forms that rows can have, the fields of each form, and the usual names of their columns.

instruction    input, response, contexts, history
messages       messages                              these forms also: system, tools, documents, template_kwargs
completion     prompt, completion
text           text
ids            input_ids, with labels or masks, and position_ids or seq_lengths

The templates of a prompt can name further columns of instructions. Their fields are spelled as there: `{topic}`.
"""

from collections.abc import Collection
from typing import Literal, NamedTuple

Form = Literal["instruction", "messages", "completion", "text", "ids"]

EXTRAS = ("system", "tools", "documents", "template_kwargs")
"""The fields that rows with prompts can have."""

REQUIRED: dict[Form, tuple[str, ...]] = {
    "instruction": ("input", "response"),
    "messages": ("messages",),
    "completion": ("prompt", "completion"),
    "text": ("text",),
    "ids": ("input_ids",),
}
"""The fields that the rows of a form must have."""

WITHOUT_PROMPTS: tuple[Form, ...] = ("text", "ids")
"""The forms of rows without a prompt. A row has such a form only if it has no other form: texts often accompany it."""

MASKS = ("assistant_masks", "completion_mask", "loss_mask")
"""The fields of ids that say with 1 that a token is trained."""

OPTIONAL: dict[Form, tuple[str, ...]] = {
    "instruction": ("contexts", "history"),
    "messages": (),
    "completion": (),
    "text": (),
    "ids": ("labels", "attention_mask", *MASKS, "position_ids", "seq_lengths"),
}
"""The fields that the rows of a form can have."""

ANSWERS = ("response", "completion")
"""The fields that a row of a prompt does not have."""

CANDIDATES: dict[str, tuple[str, ...]] = {
    "contexts": ("contexts", "context"),
    "messages": ("messages", "conversations"),
    "tools": ("tools", "tool_defs", "functions"),
}
"""The usual names of the columns of a field, if it has others than its own."""

FIELDS = (*dict.fromkeys(field for form in REQUIRED for field in (*REQUIRED[form], *OPTIONAL[form])), *EXTRAS)
"""The fields that `columns:` can name."""

USUAL_NAMES = frozenset((*FIELDS, *(name for names in CANDIDATES.values() for name in names)))
"""The names of columns that have a meaning without `columns:`."""

CONVERTED = ("input", "response", "contexts", "prompt", "completion")
"""The fields that can be converted to text."""


class TemplateNames(NamedTuple):
    """What the templates of a prompt read.

    Attributes:
        in_prompt: The names of columns in the templates of the input and of the contexts.
        in_answer: The other names, which only the template of the response has.
        has_input: Whether they read the input.
    """

    in_prompt: tuple[str, ...] = ()
    in_answer: tuple[str, ...] = ()
    has_input: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns."""
        return (*self.in_prompt, *self.in_answer)


NO_NAMES = TemplateNames()
"""Templates that name no column."""


def placeholder(name: str) -> str:
    """The field of a column that a template names."""
    return f"{{{name}}}"


def is_of_template(field: str) -> bool:
    """Whether a field is a column that a template names."""
    return field.startswith("{")


def candidates_of(field: str) -> tuple[str, ...]:
    """The usual names of the columns of a field."""
    return CANDIDATES.get(field, (field.strip("{}"),))


def usual_column(field: str, known: Collection[str]) -> str:
    """The first usual name of a field that is `known`; else its first one."""
    candidates = candidates_of(field)
    return next((column for column in candidates if column in known), candidates[0])
