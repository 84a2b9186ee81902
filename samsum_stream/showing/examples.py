"""Examples with their mask, below their position and counts."""

from collections.abc import Iterable

from rich.console import Group
from rich.text import Text

from samsum_stream.errors.wording import counted
from samsum_stream.showing.cells import cells_of
from samsum_stream.showing.decoding import TokenDecoder
from samsum_stream.showing.marks import HEADER, LEGEND, MASKED, WithMargin, marked_text
from samsum_stream.showing.packs import shown_packs
from samsum_stream.showing.runs import token_runs
from samsum_stream.values.batches import BatchInfo
from samsum_stream.values.examples import Example


def shown_example(example: Example, decoder: TokenDecoder, *, ids: bool = False) -> Group:
    """An example as text; with `ids`, each token above its id."""
    runs = token_runs(example, decoder)
    return Group(_header(example), cells_of(runs) if ids else WithMargin(marked_text(runs)))


def _header(example: Example) -> Text:
    """The position of an example, its tokens and its trained tokens."""
    length, num_trained = len(example.input_ids), int(example.trained.sum())
    share = f"{num_trained / length:.0%}"
    turns = f" in {counted(len(example.spans), 'turn')}" if len(example.spans) > 1 else ""
    return Text(f"{example.position}: tokens {length:,}, trained {num_trained:,} ({share}){turns}", HEADER)


def shown_examples(examples: Iterable[Example], decoder: TokenDecoder, *, ids: bool = False) -> Group:
    """Examples below each other, with a legend of the marks."""
    parts = (part for example in examples for part in (Text(), shown_example(example, decoder, ids=ids)))
    return Group(Text(LEGEND, MASKED), *parts)


def shown_batch(info: BatchInfo, decoder: TokenDecoder, *, max_length: int) -> Group:
    """A batch: its packs as bars, then all its examples."""
    examples = [example for pack in info.packs for example in pack.examples]
    padding = f", {counted(info.num_padding_rows, 'row')} of padding beside its packs" if info.num_padding_rows else ""
    title = Text(f"global batch {info.batch}, lane {info.lane}{padding}", HEADER)
    bars = shown_packs(info.packs, max_length=max_length)
    return Group(title, bars, Text(), shown_examples(examples, decoder))
