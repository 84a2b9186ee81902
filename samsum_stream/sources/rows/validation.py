"""Rows or batches to validated rows: texts are checked as whole columns, and searched only if the check fails."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any

from samsum_stream.errors import RowError, SourceError
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.conversations.build import Builder, is_chat
from samsum_stream.sources.rows.conversations.extras import Extras, extras_of
from samsum_stream.sources.rows.conversations.problem import Problem
from samsum_stream.sources.rows.converting import converted
from samsum_stream.sources.rows.forms import EXTRAS, WITHOUT_PROMPTS, placeholder
from samsum_stream.sources.rows.gather import RawColumns, from_batch, from_rows
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.ready_ids import ready_ids
from samsum_stream.sources.rows.selecting import Kept, matching, rows_of, selected, values_of_batch
from samsum_stream.sources.rows.texts import (
    NOT_BLANK,
    NOT_BLANK_TEXT,
    FieldCheck,
    Rule,
    check_unicode,
    context_lists,
    fail_first,
    field_check,
    texts_of,
)
from samsum_stream.values.conversations import Conversation
from samsum_stream.values.rows import (
    Completions,
    Content,
    Conversations,
    Instructions,
    Rows,
    Texts,
    TokenIds,
    has_blank,
    is_blank,
)

NO_ANSWER = "x"
"""The response of a row that is only a prompt."""

_ONE_KIND = Rule("of the kind of the prompt, both texts or both lists of messages", "wrong_type")


def rows_from_mappings(rows: Sequence[Any], *, columns: Columns, locate: Locator) -> Rows:
    """Validated rows from one mapping per row; raises `RowError` for a row that breaks a rule."""
    if not locate.source.known_columns:
        mappings = [row for row in rows if isinstance(row, Mapping)]
        locate.source.known_columns = tuple(dict.fromkeys(str(name) for row in mappings for name in row))
    selection = columns.selection
    if selection.is_empty:
        return _rows_from_mappings(rows, columns, locate)
    chosen, kept = selected(rows, selection, locate)
    note = "" if selection.map is None else f"after `map: {selection.map.name}`, "
    return _with_dropped(
        kept, lambda: _rows_from_mappings(chosen, columns, locate.of(kept.indices)._replace(note=note))
    )


def rows_from_batch(
    batch: Mapping[str, Sequence[Any]], *, columns: Columns, locate: Locator, is_unicode: bool = False
) -> Rows:
    """Like `rows_from_mappings`, from columns by name; `is_unicode` promises that no text has a lone surrogate."""
    selection = columns.selection
    if selection.has_functions:
        return rows_from_mappings(rows_of(batch), columns=columns, locate=locate)
    if selection.is_empty:
        return _rows_from_batch(batch, columns, locate, is_unicode=is_unicode)
    kept = matching(selection, lambda column: values_of_batch(batch, column, len(locate.rows)), locate)
    chosen, indices = batch, kept.indices.tolist()
    if kept.dropped:
        chosen = {name: [values[index] for index in indices] for name, values in batch.items()}
    return _with_dropped(
        kept, lambda: _rows_from_batch(chosen, columns, locate.of(kept.indices), is_unicode=is_unicode)
    )


def _with_dropped(kept: Kept, read: Callable[[], Rows]) -> Rows:
    """The rows that are kept, as `read` returns them, with those that are left out."""
    if not len(kept.indices):
        return Rows.none(*(row for _, row in kept.dropped))
    return replace(read(), skipped=kept.dropped)


def _rows_from_mappings(rows: Sequence[Any], columns: Columns, locate: Locator) -> Rows:
    if columns.form is None:
        columns = _with_form(columns, (row for row in rows if isinstance(row, Mapping)), locate)
    return _validated(from_rows(rows, columns=columns, locate=locate), columns, locate)


def _rows_from_batch(
    batch: Mapping[str, Sequence[Any]], columns: Columns, locate: Locator, *, is_unicode: bool
) -> Rows:
    if columns.form is None:
        columns = _with_form(columns, [batch], locate)
    return _validated(from_batch(batch, columns=columns, locate=locate), columns, locate, is_unicode=is_unicode)


def _with_form(columns: Columns, rows: Iterable[Mapping[str, Any]], locate: Locator) -> Columns:
    """The columns of the first row that has a form, which is then the form of all rows of the source."""
    for row in rows:
        of_row = columns.with_form_of(row, name=locate.source.name)
        if of_row.form is not None:
            locate.source.columns = of_row
            return of_row
    return columns


def _validated(raw: RawColumns, columns: Columns, locate: Locator, *, is_unicode: bool = False) -> Rows:
    if columns.form in WITHOUT_PROMPTS:
        _refuse_extras(columns, locate)
    content: Content
    if columns.kinds or columns.templates.names:
        raw, is_unicode = {**raw, **converted(raw, columns, locate)}, False
    if columns.form == "text":
        content = _text(raw, columns, locate, is_unicode)
    elif columns.form == "ids":
        content = _ids(raw, columns, locate)
    else:
        content = _with_prompts(raw, columns, locate, is_unicode)
    return Rows(content, shards=locate.shards, rows=locate.rows)


def _text(raw: RawColumns, columns: Columns, locate: Locator, is_unicode: bool) -> Texts:
    field = FieldCheck("text", columns.origin("text"), locate)
    texts = texts_of(raw["text"] or [], field)
    if has_blank(texts):
        fail_first(texts, field, rule=NOT_BLANK_TEXT, is_good=lambda text: not is_blank(text))
    if not is_unicode:
        check_unicode(texts, field)
    return Texts(texts)


def _ids(raw: RawColumns, columns: Columns, locate: Locator) -> TokenIds:
    values = {field: column for field, column in raw.items() if column is not None}
    try:
        return ready_ids(values)
    except Problem:  # one row is bad, or rows have different fields
        rows = ((dict(zip(values, row, strict=True)),) for row in zip(*values.values(), strict=True))
        return TokenIds.joined(_built(rows, _ids_of_row, columns, locate))


def _ids_of_row(row: Mapping[str, Any]) -> TokenIds:
    return ready_ids({field: [value] for field, value in row.items() if value is not None or field == "input_ids"})


def _with_prompts(raw: RawColumns, columns: Columns, locate: Locator, is_unicode: bool) -> Content:
    if columns.form == "completion" and columns.is_chat is None:
        columns = _with_kind(raw, columns, locate)
        if columns.is_chat is None:
            value = {field: values[0] for field, values in raw.items() if field in columns.required and values}
            raise FieldCheck("completion", columns.origin("completion"), locate).error(0, rule=_ONE_KIND, value=value)
    if columns.form == "completion" and not columns.is_chat:
        _refuse_extras(columns, locate)
        prompts, completions = _prompts_and_answers(raw, ("prompt", "completion"), columns, locate, is_unicode)
        return Completions(prompts, completions)
    if columns.form == "messages" or columns.form == "completion":
        return Conversations(_conversations(raw, columns, locate))
    inputs, responses = _prompts_and_answers(raw, ("input", "response"), columns, locate, is_unicode)
    contexts = _contexts(raw, columns, locate, is_unicode)
    others = _columns_of_templates(raw, columns, locate) if columns.templates.names else {}
    content = Instructions(inputs, responses, contexts, others)
    if columns.is_chat:
        return Conversations(_conversations_of_texts(raw, content, columns, locate))
    return content


def _refuse_extras(columns: Columns, locate: Locator) -> None:
    """Raise `SourceError` if `columns:` names fields that only conversations have."""
    if named := [field for field in EXTRAS if field in columns.named]:
        rows, remedy = _WITHOUT_EXTRAS[str(columns.form)]
        raise SourceError(
            f"{locate.source.name}: columns names {', '.join(named)}, which only conversations have, and {rows}; "
            f"{remedy}remove these columns from `columns:`"
        )


_WITHOUT_EXTRAS = {
    "text": ("the rows are texts", ""),
    "ids": ("the rows are ids", ""),
    "completion": ("prompt and completion are texts", "write both as lists of messages, or "),
}
"""What the rows of a form are, and the first remedy."""


def _with_kind(raw: RawColumns, columns: Columns, locate: Locator) -> Columns:
    """The columns, with the kind of the first row whose prompt and completion are of one kind, which all rows have."""
    prompts = raw["prompt"] or []
    for prompt, completion in zip(prompts, prompts if columns.is_prompt else raw["completion"] or [], strict=True):
        if (kind := is_chat(prompt, completion, columns.rules)) is not None:
            decided = columns._replace(is_chat=kind)
            locate.source.columns = decided
            return decided
    return columns


def _prompts_and_answers(
    raw: RawColumns, names: tuple[str, str], columns: Columns, locate: Locator, is_unicode: bool
) -> tuple[list[str], list[str]]:
    """The texts of the input and the response, or of the prompt and the completion."""
    first, second = (field_check(name, columns, locate) for name in names)
    inputs = texts_of(raw[first.name] or [], first) if columns.reads(first.name) else [""] * len(locate.rows)
    answers = [NO_ANSWER] * len(inputs) if columns.is_prompt else texts_of(raw[second.name] or [], second)
    if has_blank(answers):
        fail_first(answers, second, rule=NOT_BLANK, is_good=lambda text: not is_blank(text))
    if not is_unicode:
        check_unicode(inputs, first)
        check_unicode(answers, second)
    return inputs, answers


def _columns_of_templates(raw: RawColumns, columns: Columns, locate: Locator) -> dict[str, list[str]]:
    """The texts of the columns that the templates name, by the names in the templates."""
    templates = columns.templates
    fields = {name: placeholder(name) for name in (templates.in_prompt if columns.is_prompt else templates.names)}
    for field in fields.values():
        check_unicode(raw[field] or [], FieldCheck(field.strip("{}"), columns.origin(field), locate))
    answers = {name: [NO_ANSWER] * len(locate.rows) for name in templates.in_answer}
    return answers | {name: raw[field] or [] for name, field in fields.items()}


def _contexts(raw: RawColumns, columns: Columns, locate: Locator, is_unicode: bool) -> list[list[str]] | None:
    field = field_check("contexts", columns, locate)
    contexts = context_lists(raw["contexts"], field)
    if contexts is not None and not is_unicode:
        check_unicode(["".join(texts) for texts in contexts], field)
    return contexts


def _conversations(raw: RawColumns, columns: Columns, locate: Locator) -> list[Conversation]:
    builder = Builder(columns.rules, columns.is_prompt)
    extras = _extras(raw, columns, locate)
    if columns.form == "messages":
        return _built(zip(raw["messages"] or [], extras, strict=False), builder.of_messages, columns, locate)
    prompts = raw["prompt"] or []
    completions = repeat(None) if columns.is_prompt else raw["completion"] or []
    return _built(zip(prompts, completions, extras, strict=False), builder.of_completion, columns, locate)


def _conversations_of_texts(
    raw: RawColumns, texts: Instructions, columns: Columns, locate: Locator
) -> list[Conversation]:
    history = _column(raw, "history")
    rows = zip(
        texts.inputs,
        texts.responses,
        texts.contexts or repeat(()),
        history or repeat(None),
        _extras(raw, columns, locate),
        strict=False,
    )
    return _built(rows, Builder(columns.rules, columns.is_prompt).of_instruction, columns, locate)


def _extras(raw: RawColumns, columns: Columns, locate: Locator) -> Iterable[Extras | None]:
    """What each row has beside its messages; None for all rows if no row has anything."""
    values = [_column(raw, field) for field in EXTRAS]
    if all(column is None for column in values):
        return repeat(None)
    rows = zip(*(column or repeat(None) for column in values), strict=False)
    return _built(rows, extras_of, columns, locate)


def _column(raw: RawColumns, field: str) -> list[Any] | None:
    """The values of a field that rows of some forms do not have."""
    return raw[field] if field in raw else None  # noqa: SIM401


def _built(rows: Iterable[tuple[Any, ...]], build: Callable[..., Any], columns: Columns, locate: Locator) -> list[Any]:
    """What `build` makes of each row; raises `RowError` for the first row that breaks a rule."""
    built: list[Any] = []
    try:
        for row in rows:
            built.append(build(*row))
    except Problem as problem:
        raise _error(problem, len(built), columns, locate) from None
    except RecursionError:
        too_deep = Problem("the row must not nest lists and mappings so deeply; leave it out", reason="wrong_type")
        raise _error(too_deep, len(built), columns, locate) from None
    return built


def _error(problem: Problem, index: int, columns: Columns, locate: Locator) -> RowError:
    field = problem.field
    if field == "messages" and columns.form == "completion":
        field, origin = "prompt", f"{columns.origin('prompt')} and {columns.origin('completion')}"
    elif field == "messages" and columns.form != "messages":
        field, origin = "history", columns.origin("history")
    else:
        origin = columns.origin(field)
    message = "" if problem.message is None else f", message {problem.message}"
    return locate.error(index, f"{origin}{message}: {problem.text}", field=field, reason=problem.reason)
