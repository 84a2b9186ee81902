"""What a person looks at, in a terminal and in a notebook alike: one file an idea.

ids ──pieces──▶ text of each token ──marks, cells──▶ examples ┐
lengths ──────────────────────────────────────────▶ packs    ─┼─▶ rich ──▶ terminal, or pages ──▶ HTML, text
what was measured, what was counted ───────▶ report, stats   ─┘
"""

from functools import singledispatch

from rich.console import RenderableType

from samsum_stream.fidelity import ModelReport
from samsum_stream.showing.examples import shown_batch, shown_example, shown_examples, shown_pack
from samsum_stream.showing.model_report import shown_report
from samsum_stream.showing.packs import shown_packs
from samsum_stream.showing.pages import as_html, as_text
from samsum_stream.showing.pieces import Pieces
from samsum_stream.showing.stats import shown_stats
from samsum_stream.stats import Stats
from samsum_stream.values.examples import Example, Pack

__all__ = [
    "Pieces",
    "as_html",
    "as_text",
    "shown",
    "shown_batch",
    "shown_example",
    "shown_examples",
    "shown_pack",
    "shown_packs",
    "shown_report",
    "shown_stats",
]


@singledispatch
def shown(value: object) -> RenderableType:
    """What a value of this package looks like."""
    raise TypeError(f"nothing is known of how a {type(value).__name__} looks")


shown.register(Example, shown_example)
shown.register(Pack, shown_pack)
shown.register(ModelReport, shown_report)
shown.register(Stats, shown_stats)
