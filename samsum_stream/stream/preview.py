"""The first examples and packs of a stream, read as training reads them and shown as a person looks at them."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice

from rich.console import Group, RenderableType
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import did_you_mean, quoted
from samsum_stream.lanes.position import START
from samsum_stream.loader.wire import from_buffer, to_buffer
from samsum_stream.pipeline.lane import nothing_left
from samsum_stream.pipeline.lanes import open_lanes
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.showing import Pieces, as_html, as_text, shown_examples, shown_packs
from samsum_stream.sources import Leaf, Source
from samsum_stream.values.batches import Pack, packs_of
from samsum_stream.values.counts import LEFT_OUT, Counts, by_reason, num_rows_of
from samsum_stream.values.examples import Item


@dataclass(frozen=True, repr=False)
class Preview:
    """What the start of a stream looks like: in a terminal by `rich`, in a notebook, and as text by `print`.

    Attributes:
        packs: The packs that were read.
        picture: What `rich` prints of them.
    """

    packs: tuple[Pack, ...]
    picture: RenderableType

    def __rich__(self) -> RenderableType:
        return self.picture

    def __repr__(self) -> str:
        return as_text(self.picture)

    def _repr_html_(self) -> str:
        return as_html(self.picture)


def preview(
    pipeline: Pipeline,
    tokenizer: PreTrainedTokenizerBase,
    n: int,
    *,
    packs: bool = False,
    source: str | None = None,
    ids: bool = False,
) -> Preview:
    """The first `n` examples of a stream, or packs; of the child `source` of a mixture, where one is named.

    Raises:
        ConfigError: no child has that name, or what is asked for does not fit together.
        SourceError: no row is left to train on, or a row is bad.
    """
    if n < 1 or (packs and ids):
        raise ConfigError(
            f"a preview shows 1 or more, examples (also by their ids) or packs; got n={n}, packs={packs}, ids={ids}"
        )
    found, counts = _first_packs(pipeline, n, *_of_child(pipeline.source, source))
    if packs:
        picture = shown_packs(found, max_length=pipeline.packer.max_length)
    else:
        examples = chain.from_iterable(pack.examples for pack in found)
        picture = shown_examples(islice(examples, n), Pieces(tokenizer), ids=ids)
    return Preview(tuple(found), Group(picture, *_left_out(counts)))


def _of_child(source: Source, name: str | None) -> tuple[Source, Sequence[Leaf]]:
    """What to read, and the leaves in it, whose shards are numbered among those of all."""
    if name in (None, source.name):
        return source, source.leaves
    children = {leaf.name: leaf for leaf in source.leaves if leaf.name}
    if name not in children:
        known = did_you_mean(name, children) if children else "it is no mixture; leave the name out"
        raise ConfigError(f"{source.name} has no child {quoted(name)}; {known}")
    return children[name].source, [children[name]]


def _first_packs(pipeline: Pipeline, n: int, source: Source, leaves: Sequence[Leaf]) -> tuple[list[Pack], Counts]:
    """Up to `n` packs of an epoch and what befell rows on the way: those of lane 0, which starts a run, come first."""
    positions = dict.fromkeys(range(pipeline.lanes_for(1)), START)
    found: list[list[Item]] = []
    counts = Counts()
    with closing(ReadAhead()) as read_ahead:
        lanes = open_lanes(
            source,
            positions,
            order=pipeline.order(len(positions)),
            tokenizer=pipeline.tokenizer,
            faults=pipeline.faults,
            read_ahead=read_ahead,
            leaves=iter(leaves),
        )
        for lane in (lanes.lane(number, START) for number in positions):
            packs = list(islice(pipeline.packer.pack(lane.epoch()), n - len(found)))
            found += packs
            counts += lane.hand_over(packs)[1]
            if len(found) == n:
                break
    if not found:
        raise nothing_left(source.name, num_rows_of(counts), counts)
    return list(packs_of(from_buffer(to_buffer(found)), pipeline.source.position)), counts


def _left_out(counts: Counts) -> list[Text]:
    """What became of rows on the way, where they did not all come through whole."""
    told = {f"{what}: {reason}": number for what in LEFT_OUT for reason, number in by_reason(counts, what).items()}
    text = ", ".join(f"{name} {number:,}" for name, number in told.items())
    return [Text(f"\non the way: {text}", "yellow")] if told else []
