"""What is left out of rows: columns that nothing reads, and white space that is stripped."""

from collections.abc import Iterator

from samsum_stream.inspection.check.facts import Facts
from samsum_stream.inspection.check.findings import Finding
from samsum_stream.inspection.check.noticed import STRIPPED
from samsum_stream.inspection.check.sampling import Sample
from samsum_stream.sources.rows.forms import USUAL_NAMES


def unread_columns(sample: Sample) -> list[str]:
    """The columns that nothing reads, of a source that reads rows by columns."""
    source = sample.leaf.source
    known = source.known_columns
    read = source.columns.names_in(known) if hasattr(source, "columns") else known
    return [column for column in known if column not in read]


def unread_fields(facts: Facts) -> Iterator[Finding]:
    """Columns with the name of a field that are not read, so that they were probably meant to be."""
    for sample in facts.samples:
        if columns := [column for column in unread_columns(sample) if column in USUAL_NAMES]:
            yield Finding(
                "unread_columns",
                "note",
                f"{sample.title}: nothing reads {', '.join(f'column {column!r}' for column in columns)}, with the name "
                "of a field",
                f"name it under `columns:` or in a template, as {{{columns[0]}}}; or leave it out",
            )


def stripped_rows(facts: Facts) -> Iterator[Finding]:
    for sample in facts.samples:
        if rows := sample.noticed.rows.get(STRIPPED):
            yield Finding(
                "stripped_rows",
                "note",
                f"{sample.title}: white space at the start or the end of a text is stripped in "
                f"{sample.share(len(rows))}, such as {sample.positions[rows[0]].place}",
                "write prompt_config.kwargs.strip: false if it matters, as in code, tables and verse",
            )
