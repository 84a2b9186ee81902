"""`columns:` of a config, matched with the columns of a dataset or of a row."""

from collections.abc import Collection, Mapping
from typing import Any

from samsum_stream.config.source import ColumnConfig
from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.errors.wording import closest, did_you_mean
from samsum_stream.sources.rows.columns import Columns, form_of
from samsum_stream.sources.rows.conversion import Kind
from samsum_stream.sources.rows.forms import (
    ANSWERS,
    CONVERTED,
    FIELDS,
    NO_NAMES,
    OPTIONAL,
    REQUIRED,
    Form,
    TemplateNames,
    is_of_template,
    placeholder,
)
from samsum_stream.sources.rows.paths import has, path_in
from samsum_stream.sources.rows.rules import USUAL_RULES, ConversationRules
from samsum_stream.sources.rows.selection import ALL_ROWS, Selection


def parse_columns(
    columns: Mapping[str, str | ColumnConfig],
    *,
    rules: ConversationRules = USUAL_RULES,
    is_prompt: bool = False,
    templates: TemplateNames = NO_NAMES,
    selection: Selection = ALL_ROWS,
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
        _named_form(named),
        named,
        {},
        {},
        rules,
        is_prompt=is_prompt,
        templates=templates,
        kinds=_kinds(sources),
        selection=selection,
    )
    # Rows without a form are read as instructions, and the error says which column they lack.
    return undecided.of_form(undecided.form or "instruction")._replace(form=undecided.form)


def _field_of(key: str) -> str:
    """The field that a key of `columns:` names."""
    if key == "context":
        return "contexts"
    return key if key in FIELDS else placeholder(key)


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
    of_form = {form: [field for field in named if field in (*REQUIRED[form], *OPTIONAL[form])] for form in REQUIRED}
    forms: list[Form] = [form for form, fields in of_form.items() if fields]
    if len(forms) > 1:
        first, second = (of_form[form][0] for form in forms[:2])
        raise ConfigError(
            f"columns: {first!r} and {second!r} belong to different forms of rows; name the fields of one form: "
            "input and response; or messages; or prompt and completion; or text; or input_ids"
        )
    return forms[0] if forms else None


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
    is_ours = lacks and (parsed.form is None or form_of(row, ours, name="row") is not None)
    answers = ANSWERS if is_prompt else ()
    return {
        key: column
        for key, column in columns.items()
        if (has(row, parsed.named[_field_of(key)]) if key not in needed else not is_ours and key not in answers)
    }


def match_columns(columns: Columns, known: Collection[str], *, name: str) -> Columns:
    """`columns` without unknown optional columns; if a function changes the rows, it gives the columns.

    Raises:
        SourceError: a required column, or one of a condition, is not `known`.
    """
    for column in columns.selection.where:
        if path_in(column, known) is None:
            raise SourceError(f"{name}: {unknown_condition(column, known)}")
    if columns.selection.map is not None:
        return columns
    matched = columns.with_form_of(known, name=name)
    for field, column in matched.required.items():
        if path_in(column, known) is None:
            raise SourceError(f"{name}: {missing_column(field, column, known)}")
    optional = {
        field: tuple(column for column in candidates if column in known)
        for field, candidates in matched.optional.items()
    }
    return matched._replace(form=matched.form or "instruction", optional=optional)


def require_all_columns(columns: Columns, known: Collection[str], of_first: Collection[str], *, where: str) -> None:
    """Raise `SourceError` if a function, which sees all columns, would see others in this file than in the first one.

    Args:
        columns: The columns that are read.
        known: The columns of the file.
        of_first: The columns of the first file.
        where: The start of the message, which names both files.
    """
    if columns.selection.has_functions and (others := sorted({*known} ^ {*of_first})):
        raise SourceError(
            f"{where} must have the same columns, because a function reads all of them (`map`, `filter`); only one of "
            f"them has {', '.join(map(repr, others))}; write both alike"
        )


def unknown_condition(column: str, known: Collection[str]) -> str:
    """The message for a condition on a column that no row has."""
    return f"`where` names {column!r}, and there is no such column; {did_you_mean(column, [*map(str, known)])}"


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
