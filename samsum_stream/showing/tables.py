"""Tables of lines with headings."""

from collections.abc import Iterable

from rich.table import Table


def headed_lines(lines: Iterable[tuple[str, str]]) -> Table:
    """One row for each heading and text; a heading that repeats is shown once."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    last = ""
    for heading, text in lines:
        table.add_row("" if heading == last else heading, text)
        last = heading
    return table
