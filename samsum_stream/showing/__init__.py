"""What a person looks at, in a terminal and in a notebook alike: one file an idea.

ids ──pieces──▶ text of each token ──marks, cells──▶ examples ┐
lengths ──────────────────────────────────────────▶ packs    ─┼─▶ rich ──▶ terminal, or pages ──▶ HTML, text
what was measured, what was counted ───────▶ report, stats   ─┘
"""

from samsum_stream.showing.examples import shown_batch, shown_example, shown_examples, shown_pack
from samsum_stream.showing.packs import shown_packs
from samsum_stream.showing.pages import as_html, as_text
from samsum_stream.showing.pieces import Pieces

__all__ = [
    "Pieces",
    "as_html",
    "as_text",
    "shown_batch",
    "shown_example",
    "shown_examples",
    "shown_pack",
    "shown_packs",
]
