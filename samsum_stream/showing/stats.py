"""What was counted of a stream, as a table."""

from rich.table import Table

from samsum_stream.showing.marks import HEADER
from samsum_stream.stats import LEFT_OUT, Stats


def shown_stats(stats: Stats) -> Table:
    """A number a row: totals, what was left out by reason, and the shares of a mixture's children."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style=HEADER)
    table.add_column(justify="right")
    for name in ("rows", "examples", "tokens", "trained_tokens", "packs"):
        table.add_row(name, f"{getattr(stats, name):,}")
    table.add_row("efficiency", f"{stats.efficiency:.2%}")
    for what in LEFT_OUT:
        for reason, number in getattr(stats, what).items():
            table.add_row(f"{what}: {reason}", f"{number:,}")
    for name, child in stats.children.items():
        table.add_row(f"tokens of {name}", f"{child.tokens:,} ({child.share:.1%})")
    return table
