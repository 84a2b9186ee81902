"""The first examples or packs of a stream, read as in training, to look at."""

from dataclasses import dataclass
from itertools import chain, islice

from rich.console import Group, RenderableType
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import did_you_mean, quoted
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.showing import TokenDecoder, as_html, as_text, shown_examples, shown_packs
from samsum_stream.sources import Leaf, Source
from samsum_stream.values.batches import Pack
from samsum_stream.values.counts import LEFT_OUT, Counts, by_reason


@dataclass(frozen=True, repr=False)
class Preview:
    """The start of a stream: a picture for `rich`, for notebooks and for `print`.

    Attributes:
        packs: The packs that were read.
        picture: The renderable for `rich`.
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
    """The first `n` examples or packs of a stream.

    Args:
        packs: Show packs as bars instead of examples.
        source: Read only the child of a mixture that has this name.
        ids: Show each token above its id instead of text.

    Raises:
        ConfigError: no child has the name `source`, or the arguments contradict each other.
        SourceError: a row is bad, or no row is left to train on.
    """
    if n < 1 or (packs and ids):
        raise ConfigError(
            f"a preview shows 1 or more, examples (also by their ids) or packs; got n={n}, packs={packs}, ids={ids}"
        )
    first_packs, counts = pipeline.peek(n, leaf=_leaf(pipeline.source, source))
    if packs:
        picture = shown_packs(first_packs, max_length=pipeline.packer.max_length)
    else:
        examples = chain.from_iterable(pack.examples for pack in first_packs)
        picture = shown_examples(islice(examples, n), TokenDecoder(tokenizer), ids=ids)
    return Preview(tuple(first_packs), Group(picture, *_left_out(counts)))


def _leaf(source: Source, name: str | None) -> Leaf | None:
    """The child of a mixture with a name; None for the whole source."""
    if name in (None, source.name):
        return None
    children = {leaf.name: leaf for leaf in source.leaves if leaf.name}
    if name not in children:
        known = did_you_mean(name, children) if children else "it is no mixture; leave the name out"
        raise ConfigError(f"{source.name} has no child {quoted(name)}; {known}")
    return children[name]


def _left_out(counts: Counts) -> list[Text]:
    """A line with the dropped, truncated and skipped rows, if there are any."""
    numbers = [
        f"{what}: {reason} {number:,}" for what in LEFT_OUT for reason, number in by_reason(counts, what).items()
    ]
    return [Text(f"\non the way: {', '.join(numbers)}", "yellow")] if numbers else []
