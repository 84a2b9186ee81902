"""The columns of the fields of a source, and the form of its rows where only their columns show it."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.sources.rows.conversion import Kind, class_names
from samsum_stream.sources.rows.forms import (
    ANSWERS,
    EXTRAS,
    FIELDS,
    NO_NAMES,
    OPTIONAL,
    REQUIRED,
    WITHOUT_PROMPTS,
    Form,
    TemplateNames,
    candidates_of,
    is_of_template,
    placeholder,
    usual_column,
)
from samsum_stream.sources.rows.paths import path_in
from samsum_stream.sources.rows.rules import USUAL_RULES, ConversationRules
from samsum_stream.sources.rows.selection import ALL_ROWS, Selection


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
        selection: Which rows are kept, and how they are changed before the fields are read.
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
    selection: Selection = ALL_ROWS

    @property
    def names(self) -> tuple[str, ...]:
        """All columns to read, without repeats; a function reads further ones."""
        if self.form is None:
            usual = (name for field in FIELDS for name in candidates_of(field))
            return tuple(dict.fromkeys((*usual, *self.named.values(), *self.selection.where)))
        optional = (column for columns in self.optional.values() for column in columns)
        return tuple(dict.fromkeys((*self.required.values(), *optional, *self.selection.where)))

    def names_in(self, known: Collection[str]) -> list[str]:
        """The `known` columns to read: those of `names`, or the columns that contain them as fields."""
        if self.selection.has_functions:
            return list(known)
        paths = [path_in(name, known) for name in self.names]
        return list(dict.fromkeys(path[0] for path in paths if path is not None))

    def of_any_kind_in(self, known: Collection[str]) -> set[str]:
        """The `known` columns with values that are converted to text, compared, or given to functions."""
        if self.selection.has_functions:
            return set(known)
        names = [name for field, name in self.required.items() if field in self.kinds or is_of_template(field)]
        names += self.selection.where
        return {path[0] for path in (path_in(name, known) for name in names) if path is not None}

    @property
    def texts(self) -> set[str]:
        """The columns that hold a text or a list of texts in each row."""
        if self.selection.map is not None:
            return set()
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
            field: candidates_of(field) for field in (*OPTIONAL[form], *extras) if field not in (*self.named, "history")
        }
        return self._replace(
            form=form,
            required={**{field: usual_column(field, known) for field in fields}, **self._named_of(form)},
            optional=optional,
            is_chat=is_chat,
        )

    def with_labels(self, features: Any, known: Collection[str]) -> "Columns":
        """The columns with the names of their class labels.

        Args:
            features: The `datasets.Features` of the dataset; None if they are not known.
            known: The columns of the dataset.

        Raises:
            SourceError: a condition names a class label that does not exist.
        """
        paths = {name: path_in(name, known) for name in self.names}
        labels = {name: class_names(features, path) for name, path in paths.items() if path is not None}
        labels = {name: names for name, names in labels.items() if names}
        return self._replace(labels=labels, selection=self.selection.with_labels(labels))

    def with_form_of(self, row: Collection[str], *, name: str) -> "Columns":
        """The columns for the columns of a row; they are unchanged if these have no form.

        Raises:
            SourceError: the columns have several forms, or are those of preferences.
        """
        if self.form is not None:
            return self
        form = form_of(row, self, name=name)
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
        fields = (*REQUIRED[form], *OPTIONAL[form], *EXTRAS, *self._of_templates(form))
        return {
            field: column
            for field, column in self.named.items()
            if field in fields and not (self.is_prompt and field in ANSWERS)
        }


def form_of(row: Collection[str], columns: Columns, *, name: str) -> Form | None:
    """The form of a row with these columns; None if it has no form."""
    is_prompt = columns.is_prompt
    found: dict[str, Form] = {column: "messages" for column in candidates_of("messages") if column in row}
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
    return "messages" if column in candidates_of("messages") else column


def _is_chat(form: Form, named: Mapping[str, str]) -> bool | None:
    if form == "completion":
        return None
    if form in WITHOUT_PROMPTS:
        return False
    return form == "messages" or any(field in named for field in ("history", *EXTRAS))
