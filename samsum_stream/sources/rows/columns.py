"""The form of the rows and the column of each field: `columns:` of a config, matched with the columns of a dataset.

instruction    input, response, contexts, history
messages       messages                              these forms also: system, tools, documents, template_kwargs
completion     prompt, completion
text           text
ids            input_ids, with labels or masks, and position_ids or seq_lengths

The templates of a prompt can name further columns of instructions. Their fields are spelled as there: `{topic}`.
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

from samsum_stream.config.models import ColumnConfig
from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.errors.wording import closest, did_you_mean
from samsum_stream.sources.rows.conversion import Kind, class_names
from samsum_stream.sources.rows.paths import has, path_in
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

USUAL_NAMES = frozenset((*FIELDS, *(name for names in _CANDIDATES.values() for name in names)))
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
        templates: What the templates of the prompt read.
        kinds: How the values of a field are converted to text, for the fields that are converted.
        labels: The names of the class labels, for the columns that have some.
    """

    form: Form | None
    named: dict[str, str]
    required: dict[str, str]
    optional: dict[str, tuple[str, ...]]
    rules: ConversationRules = USUAL_RULES
    is_chat: bool | None = None
    is_prompt: bool = False
    templates: TemplateNames = NO_NAMES
    kinds: Mapping[str, Kind] = {}
    labels: Mapping[str, tuple[str, ...]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All columns to read, without repeats."""
        if self.form is None:
            usual = (name for field in FIELDS for name in _candidates(field))
            return tuple(dict.fromkeys((*usual, *self.named.values())))
        optional = (column for columns in self.optional.values() for column in columns)
        return tuple(dict.fromkeys((*self.required.values(), *optional)))

    def names_in(self, known: Collection[str]) -> list[str]:
        """The `known` columns to read: those of `names`, or the columns that contain them as fields."""
        paths = [path_in(name, known) for name in self.names]
        return list(dict.fromkeys(path[0] for path in paths if path is not None))

    def converted_in(self, known: Collection[str]) -> set[str]:
        """The `known` columns with values that are converted to text."""
        names = [name for field, name in self.required.items() if field in self.kinds or is_of_template(field)]
        return {path[0] for path in (path_in(name, known) for name in names) if path is not None}

    @property
    def texts(self) -> set[str]:
        """The columns that hold a text or a list of texts in each row."""
        texts = {"input", "response", "contexts", "system", "text"} - {*self.kinds}
        return {column for field, column in self.required.items() if field in texts} | {
            column for field, columns in self.optional.items() if field in texts for column in columns
        }

    def origin(self, field: str) -> str:
        """The name of a field for a message, with its column if that has another name."""
        column = self.required.get(field, field)
        if is_of_template(field):
            return f"the column {column!r}, which a template names,"
        return f"field {field!r}" if column == field else f"field {field!r} (column {column!r})"

    def of_form(self, form: Form, known: Collection[str] = ()) -> "Columns":
        """The columns of rows with a form; a usual name that is `known` is preferred."""
        fields = self._needed(form)
        extras = EXTRAS if form in ("messages", "completion") else ()
        is_chat = _is_chat(form, self.named)
        if form == "instruction" and is_chat and self.templates != NO_NAMES:
            raise ConfigError(
                "columns: rows with history, system, tools, documents or template_kwargs become conversations, in "
                "which a template can only name {text}; remove these columns, or the other names in the templates"
            )
        optional = {
            field: _candidates(field) for field in (*_OPTIONAL[form], *extras) if field not in (*self.named, "history")
        }
        return self._replace(
            form=form,
            required={**{field: _usual(field, known) for field in fields}, **self._named_of(form)},
            optional=optional,
            is_chat=is_chat,
        )

    def with_labels(self, features: Any, known: Collection[str]) -> "Columns":
        """The columns with the names of their class labels.

        Args:
            features: The `datasets.Features` of the dataset; None if they are not known.
            known: The columns of the dataset.
        """
        paths = {name: path_in(name, known) for name in self.names}
        labels = {name: class_names(features, path) for name, path in paths.items() if path is not None}
        return self._replace(labels={name: names for name, names in labels.items() if names})

    def with_form_of(self, row: Collection[str], *, name: str) -> "Columns":
        """The columns for the columns of a row; they are unchanged if these have no form.

        Raises:
            SourceError: the columns have several forms, or are those of preferences.
        """
        if self.form is not None:
            return self
        form = _form_of(row, self, name=name)
        return self if form is None else self.of_form(form, row)

    def reads(self, field: str) -> bool:
        """Whether a field of instructions is read: `input` is not, if no template contains it."""
        return field != "input" or self.templates.has_input

    def _needed(self, form: Form) -> list[str]:
        """The fields that rows of a form must have."""
        unread = [*(ANSWERS if self.is_prompt else ()), *(() if self.templates.has_input else ("input",))]
        return [*(field for field in REQUIRED[form] if field not in unread), *self._of_templates(form)]

    def _of_templates(self, form: Form) -> list[str]:
        """The columns that the templates name, of rows of a form."""
        names = self.templates.in_prompt if self.is_prompt else self.templates.names
        return [*map(placeholder, names)] if form == "instruction" else []

    def _named_of(self, form: Form) -> dict[str, str]:
        fields = (*REQUIRED[form], *_OPTIONAL[form], *EXTRAS, *self._of_templates(form))
        return {
            field: column
            for field, column in self.named.items()
            if field in fields and not (self.is_prompt and field in ANSWERS)
        }


def parse_columns(
    columns: Mapping[str, str | ColumnConfig],
    *,
    rules: ConversationRules = USUAL_RULES,
    is_prompt: bool = False,
    templates: TemplateNames = NO_NAMES,
) -> Columns:
    """The `columns:` of a config, which maps fields, and names in templates, to the columns of the dataset."""
    for field, column in columns.items():
        if field not in (*FIELDS, "context", *templates.names):
            nor = ", and no template names it" if templates.names else ""
            known = did_you_mean(str(field), (*FIELDS, *templates.names))
            raise ConfigError(f"columns: {field!r} is not a field of a row{nor}; {known}")
        if not isinstance(column, str | ColumnConfig):
            raise ConfigError(f"columns.{field} must be the name of a column, got {type(column).__name__}: {column!r}")
    if "context" in columns and "contexts" in columns:
        names = [str(columns["contexts"]), str(columns["context"])]
        raise ConfigError(f"columns: 'context' and 'contexts' are one field, got both: {names}; keep 'contexts'")
    if "input" in columns and not templates.has_input:
        raise ConfigError(
            "columns.input: nothing reads the input, because the input_template has no {text}; put {text} there, or "
            "remove this key"
        )
    sources = {_field_of(key): column for key, column in columns.items()}
    named = {field: column if isinstance(column, str) else column.name for field, column in sources.items()}
    undecided = Columns(
        _named_form(named), named, {}, {}, rules, is_prompt=is_prompt, templates=templates, kinds=_kinds(sources)
    )
    # Rows without a form are read as instructions, and the error says which column they lack.
    return undecided.of_form(undecided.form or "instruction")._replace(form=undecided.form)


def _field_of(key: str) -> str:
    """The field that a key of `columns:` names."""
    if key == "context":
        return "contexts"
    return key if key in FIELDS else placeholder(key)


def placeholder(name: str) -> str:
    """The field of a column that a template names."""
    return f"{{{name}}}"


def is_of_template(field: str) -> bool:
    """Whether a field is a column that a template names."""
    return field.startswith("{")


def _kinds(sources: Mapping[str, str | ColumnConfig]) -> dict[str, Kind]:
    kinds = {
        field: column.kind for field, column in sources.items() if isinstance(column, ColumnConfig) and column.kind
    }
    for field in kinds:
        if field not in CONVERTED and not is_of_template(field):
            raise ConfigError(
                f"columns.{field}: only texts are converted, and this field is not a text; remove `as`; fields that "
                f"are: {', '.join(CONVERTED)}"
            )
    return kinds


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


def _form_of(row: Collection[str], columns: Columns, *, name: str) -> Form | None:
    """The form of a row with these columns; None if it has no form."""
    is_prompt = columns.is_prompt
    found: dict[str, Form] = {column: "messages" for column in _candidates("messages") if column in row}
    for form in ("completion", "instruction"):
        needed = {field: columns.named.get(field, field.strip("{}")) for field in columns._needed(form)}
        fields = [field for field in needed if not is_of_template(field)] or [*needed]
        if all(path_in(needed[field], row) for field in fields):
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
    return _CANDIDATES.get(field, (field.strip("{}"),))


def columns_of_row(
    columns: Mapping[str, str | ColumnConfig],
    row: Mapping[str, Any],
    *,
    is_prompt: bool = False,
    templates: TemplateNames = NO_NAMES,
) -> dict[str, str | ColumnConfig]:
    """The part of `columns:` that applies to a row that a caller wrote, perhaps with the names of our fields.

    The names of our fields apply if the row lacks a column of `columns:` and has a form under our names. Optional
    fields may be missing, or have either name.
    """
    parsed = parse_columns(columns, is_prompt=is_prompt, templates=templates)
    needed = REQUIRED[parsed.form or "instruction"]
    lacks = any(not has(row, column) for field, column in parsed.required.items() if field in needed)
    ours = parse_columns({}, is_prompt=is_prompt, templates=templates)
    is_ours = lacks and (parsed.form is None or _form_of(row, ours, name="row") is not None)
    answers = ANSWERS if is_prompt else ()
    return {
        key: column
        for key, column in columns.items()
        if (has(row, parsed.named[_field_of(key)]) if key not in needed else not is_ours and key not in answers)
    }


def match_columns(columns: Columns, known: Collection[str], *, name: str) -> Columns:
    """`columns` without unknown optional columns; raises `SourceError` for a required column that is not `known`."""
    matched = columns.with_form_of(known, name=name)
    for field, column in matched.required.items():
        if path_in(column, known) is None:
            raise SourceError(f"{name}: {missing_column(field, column, known)}")
    optional = {
        field: tuple(column for column in candidates if column in known)
        for field, candidates in matched.optional.items()
    }
    return matched._replace(form=matched.form or "instruction", optional=optional)


def missing_column(field: str, column: str, known: Collection[str]) -> str:
    """The message for a field without its column: the known columns, and a line to paste."""
    names = list(map(str, known))
    if is_of_template(field):
        line = f"{field.strip('{}')}: {closest(column, names) or '...'}"
        return (
            f"a template names {field}, and there is no column {column!r}; {did_you_mean(column, names)}; write the "
            f"right name, or {{{field}}} if the braces are text, or `columns: {{{line}}}`"
        )
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
