"""Examples, packs and batches as text, as HTML and in a terminal.

ids ──decoding──▶ text of tokens ──runs──▶ trained and masked runs ──marks, cells──▶ examples ┐
lengths ──────────────────────────────────────────────────────────────────────────▶ packs    ─┴─▶ rich ──▶ pages
"""

from samsum_stream.showing.decoding import TokenDecoder
from samsum_stream.showing.examples import shown_batch, shown_example, shown_examples
from samsum_stream.showing.packs import shown_packs
from samsum_stream.showing.pages import as_html, as_text

__all__ = [
    "TokenDecoder",
    "as_html",
    "as_text",
    "shown_batch",
    "shown_example",
    "shown_examples",
    "shown_packs",
]
