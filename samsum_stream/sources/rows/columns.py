"""The form of the rows and the column of each field: `columns:` of a config, matched with the columns of a dataset.

instruction    input, response, contexts, history
messages       messages                              these forms also: system, tools, documents, template_kwargs
completion     prompt, completion
text           text
ids            input_ids, with labels or masks, and position_ids or seq_lengths
"""

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.errors.wording import closest, did_you_mean
from samsum_stream.sources.rows.rules import USUAL_RULES, ConversationRules

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

_OPTIONAL: dict[Form, tuple[str, ...]] = {
    "instruction": ("contexts", "history"),
    "messages": (),
    "completion": (),
    "text": (),
    "ids": ("labels", "attention_mask", *MASKS, "position_ids", "seq_lengths"),
}

ANSWERS = ("response", "completion")
"""The fields that a row of a prompt does not have."""

_CANDIDATES: dict[str, tuple[str, ...]] = {
    "contexts": ("contexts", "context"),
    "messages": ("messages", "conversations"),
    "tools": ("tools", "tool_defs", "functions"),
}
"""The usual names of the columns of a field, if it has others than its own."""

FIELDS = (*dict.fromkeys(field for form in REQUIRED for field in (*REQUIRED[form], *_OPTIONAL[form])), *EXTRAS)
"""The fields that `columns:` can name."""


class Columns(NamedTuple):
    """The columns of each field.

    A field that `columns:` names is required: a misspelt name must not mean that no row has the field.

    Attributes:
        form: The form of the rows; None if only the first row gives it.
        named: The fields that `columns:` names, with their columns.
        required: The fields that each row must have, with their columns.
        optional: The other fields, with candidates; the first candidate that is not null is used.
        rules: How conversations are read.
        is_chat: Whether the rows become conversations; None if only the first row gives it.
        is_prompt: Whether the rows are prompts, which need no answer.
    """

    form: Form | None
    named: dict[str, str]
    required: dict[str, str]
    optional: dict[str, tuple[str, ...]]
    rules: ConversationRules = USUAL_RULES
    is_chat: bool | None = None
    is_prompt: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All columns to read, without repeats."""
        if self.form is None:
            usual = (name for field in FIELDS for name in _candidates(field))
            return tuple(dict.fromkeys((*usual, *self.named.values())))
        optional = (column for columns in self.optional.values() for column in columns)
        return tuple(dict.fromkeys((*self.required.values(), *optional)))

    @property
    def texts(self) -> set[str]:
        """The columns that hold a text or a list of texts in each row."""
        texts = {"input", "response", "contexts", "system", "text"}
        return {column for field, column in self.required.items() if field in texts} | {
            column for field, columns in self.optional.items() if field in texts for column in columns
        }

    def origin(self, field: str) -> str:
        """The name of a field for a message, with its column if that has another name."""
        column = self.required.get(field, field)
        return f"field {field!r}" if column == field else f"field {field!r} (column {column!r})"

    def of_form(self, form: Form, known: Collection[str] = ()) -> "Columns":
        """The columns of rows with a form; a usual name that is `known` is preferred."""
        fields = [field for field in REQUIRED[form] if not (self.is_prompt and field in ANSWERS)]
        extras = EXTRAS if form in ("messages", "completion") else ()
        optional = {
            field: _candidates(field) for field in (*_OPTIONAL[form], *extras) if field not in (*self.named, "history")
        }
        return self._replace(
            form=form,
            required={**{field: _usual(field, known) for field in fields}, **self._named_of(form)},
            optional=optional,
            is_chat=_is_chat(form, self.named),
        )

    def with_form_of(self, row: Collection[str], *, name: str) -> "Columns":
        """The columns for the columns of a row; they are unchanged if these have no form.

        Raises:
            SourceError: the columns have several forms, or are those of preferences.
        """
        if self.form is not None:
            return self
        form = _form_of(row, name=name, is_prompt=self.is_prompt)
        return self if form is None else self.of_form(form, row)

    def _named_of(self, form: Form) -> dict[str, str]:
        fields = (*REQUIRED[form], *_OPTIONAL[form], *EXTRAS)
        return {
            field: column
            for field, column in self.named.items()
            if field in fields and not (self.is_prompt and field in ANSWERS)
        }


def parse_columns(
    columns: Mapping[str, str], *, rules: ConversationRules = USUAL_RULES, is_prompt: bool = False
) -> Columns:
    """The `columns:` of a config, which maps fields to the columns of the dataset."""
    for field, column in columns.items():
        if field not in (*FIELDS, "context"):
            raise ConfigError(f"columns: {field!r} is not a field of a row; {did_you_mean(str(field), FIELDS)}")
        if not isinstance(column, str):
            raise ConfigError(f"columns.{field} must be the name of a column, got {type(column).__name__}: {column!r}")
    if "context" in columns and "contexts" in columns:
        names = [columns["contexts"], columns["context"]]
        raise ConfigError(f"columns: 'context' and 'contexts' are one field, got both: {names}; keep 'contexts'")
    named = {"contexts" if field == "context" else field: column for field, column in columns.items()}
    form = _named_form(named)
    undecided = Columns(form, named, {}, {}, rules, is_prompt=is_prompt)
    # Rows without a form are read as instructions, and the error says which column they lack.
    return undecided.of_form(form or "instruction")._replace(form=form)


def _named_form(named: Mapping[str, str]) -> Form | None:
    of_form = {form: [field for field in named if field in (*REQUIRED[form], *_OPTIONAL[form])] for form in REQUIRED}
    forms: list[Form] = [form for form, fields in of_form.items() if fields]
    if len(forms) > 1:
        first, second = (of_form[form][0] for form in forms[:2])
        raise ConfigError(
            f"columns: {first!r} and {second!r} belong to different forms of rows; name the fields of one form: "
            "input and response; or messages; or prompt and completion; or text; or input_ids"
        )
    return forms[0] if forms else None


def _form_of(row: Collection[str], *, name: str, is_prompt: bool) -> Form | None:
    """The form of a row with these columns; None if it has no form."""
    found: dict[str, Form] = {column: "messages" for column in _candidates("messages") if column in row}
    for form in ("completion", "instruction"):
        fields = [field for field in REQUIRED[form] if not (is_prompt and field in ANSWERS)]
        if all(field in row for field in fields):
            found[" and ".join(fields)] = form
    is_preference = "messages" not in found.values() and (
        ("chosen" in row and "rejected" in row) or ("completion" in found.values() and "label" in row)
    )
    if is_preference and not is_prompt:
        raise SourceError(f"{name}: {_preference(row)}")
    if not found:
        found = {REQUIRED[form][0]: form for form in WITHOUT_PROMPTS if REQUIRED[form][0] in row}
    if len(found) > 1:
        lines = [f"`columns: {{{', '.join(f'{_field(c)}: {c}' for c in key.split(' and '))}}}`" for key in found]
        raise SourceError(
            f"{name}: the rows have several forms, and each row is read once: {', '.join(found)}; name one form, as "
            f"in {' or '.join(lines)}"
        )
    return next(iter(found.values()), None)


def _preference(row: Collection[str]) -> str:
    if "chosen" in row:
        return (
            "the rows are for preference training (columns 'chosen' and 'rejected'), and this is supervised "
            "fine-tuning, which trains on one answer; to train on the preferred one, write `columns: {messages: "
            "chosen}` for lists of messages, or `columns: {prompt: prompt, completion: chosen}`"
        )
    return (
        "the rows are for preference training (columns 'prompt', 'completion' and 'label'), and this is supervised "
        "fine-tuning, which trains on every answer; leave out the rows with a bad label, and write "
        "`columns: {prompt: prompt, completion: completion}`"
    )


def _field(column: str) -> str:
    return "messages" if column in _candidates("messages") else column


def _is_chat(form: Form, named: Mapping[str, str]) -> bool | None:
    if form == "completion":
        return None
    if form in WITHOUT_PROMPTS:
        return False
    return form == "messages" or any(field in named for field in ("history", *EXTRAS))


def _usual(field: str, known: Collection[str]) -> str:
    candidates = _candidates(field)
    return next((column for column in candidates if column in known), candidates[0])


def _candidates(field: str) -> tuple[str, ...]:
    return _CANDIDATES.get(field, (field,))


def columns_of_row(columns: Mapping[str, str], row: Collection[str], *, is_prompt: bool = False) -> dict[str, str]:
    """The part of `columns:` that applies to a row that a caller wrote, perhaps with the names of our fields.

    The names of our fields apply if the row lacks a column of `columns:` and has a form under our names. Optional
    fields may be missing, or have either name.
    """
    parsed = parse_columns(columns, is_prompt=is_prompt)
    needed = REQUIRED[parsed.form or "instruction"]
    lacks = any(column not in row for field, column in parsed.required.items() if field in needed)
    is_ours = lacks and (parsed.form is None or _form_of(row, name="row", is_prompt=is_prompt) is not None)
    answers = ANSWERS if is_prompt else ()
    return {
        field: column
        for field, column in columns.items()
        if (column in row if field not in needed else not is_ours and field not in answers)
    }


def match_columns(columns: Columns, known: Collection[str], *, name: str) -> Columns:
    """`columns` without unknown optional columns; raises `SourceError` for a required column that is not `known`."""
    matched = columns.with_form_of(known, name=name)
    for field, column in matched.required.items():
        if column not in known:
            raise SourceError(f"{name}: {missing_column(field, column, known)}")
    optional = {
        field: tuple(column for column in candidates if column in known)
        for field, candidates in matched.optional.items()
    }
    return matched._replace(form=matched.form or "instruction", optional=optional)


def missing_column(field: str, column: str, known: Collection[str]) -> str:
    """The message for a field without its column: the known columns, and a line to paste."""
    names = list(map(str, known))
    line = f"{field}: {closest(column, names) or '...'}"
    is_usual = field in ("input", "response") and column == field
    if is_usual and {"instruction", "output"} <= {*names}:  # Alpaca, whose column `input` is a context
        line = f"input: instruction, {'contexts: input, ' if 'input' in names else ''}response: output"
    elif is_usual and len(names) > 1 and {"input", "response"}.isdisjoint(names):
        line = f"input: {names[0]}, response: {names[1]}"
    return (
        f"field {field!r} has no column {column!r} to come from; {did_you_mean(column, names)}; "
        f"name the right one, as in `columns: {{{line}}}`"
    )
