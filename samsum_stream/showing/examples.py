"""Examples under their position and counts, with their mask."""

from collections.abc import Iterable

from rich.console import Group
from rich.text import Text

from samsum_stream.errors.wording import counted
from samsum_stream.showing.cells import cells_of_ids, cells_of_pieces
from samsum_stream.showing.marks import HEADER, LEGEND, MASKED, Barred, marked
from samsum_stream.showing.packs import Bar, shown_packs
from samsum_stream.showing.pieces import Pieces
from samsum_stream.values.batches import BatchInfo, Pack
from samsum_stream.values.examples import Example


def shown_example(example: Example, pieces: Pieces | None = None, *, ids: bool = False) -> Group:
    """An example as text, or token by token with `ids`; without what decodes it, as ids."""
    border = example.num_masked_tokens
    masked, trained = example.input_ids[:border].tolist(), example.input_ids[border:].tolist()
    if pieces is None:
        return Group(header_of(example), cells_of_ids(masked, trained))
    sides = pieces.of(masked), pieces.of(trained)
    return Group(header_of(example), cells_of_pieces(*sides) if ids else Barred(marked(*sides)))


def header_of(example: Example) -> Text:
    """Where an example comes from, and how much of it is trained."""
    length = len(example.input_ids)
    trained = length - example.num_masked_tokens
    return Text(f"{example.position}: tokens {length:,}, trained {trained:,} ({trained / length:.0%})", HEADER)


def shown_examples(examples: Iterable[Example], pieces: Pieces, *, ids: bool = False) -> Group:
    """Examples one below the other, under what their marks mean."""
    parts = (part for example in examples for part in (Text(), shown_example(example, pieces, ids=ids)))
    return Group(Text(LEGEND, MASKED), *parts)


def shown_pack(pack: Pack) -> Group:
    """A pack, which knows no room but its own tokens, as a bar, and where its examples come from."""
    title = f"pack: examples {len(pack.examples)}, tokens {pack.num_tokens:,}"
    return Group(Text(title, HEADER), Bar(pack, max_length=pack.num_tokens), *map(header_of, pack.examples))


def shown_batch(info: BatchInfo, pieces: Pieces, *, max_length: int) -> Group:
    """A batch: its packs as bars, and then all their examples."""
    examples = [example for pack in info.packs for example in pack.examples]
    padding = f", {counted(info.num_padding_rows, 'row')} of padding beside its packs" if info.num_padding_rows else ""
    title = Text(f"global batch {info.batch}, lane {info.lane}{padding}", HEADER)
    bars = shown_packs(info.packs, max_length=max_length)
    return Group(title, bars, Text(), shown_examples(examples, pieces))
