"""Packs as bars, drawn to scale: █ and ▒ alternate between examples, · is unused room.

pack                                           examples  tokens   full
   0  ██████▒▒▒▒▒▒▒▒▒███████████▒▒▒▒▒▒▒▒···         4     498  97.3%
"""

from collections.abc import Sequence
from itertools import accumulate, cycle
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from samsum_stream.showing.marks import HEADER, MASKED
from samsum_stream.showing.runs import MaskRun, mask_runs
from samsum_stream.values.batches import Pack
from samsum_stream.values.counts import efficiency
from samsum_stream.values.rows import RowPosition

LEGEND = "█▒ examples in turn, · room left"
_EXAMPLES = (("█", "cyan"), ("▒", "blue"))
_ROOM = ("·", MASKED)
MIN_WIDTH = 8
"""Columns of a bar in the narrowest terminal."""


class BarSection(NamedTuple):
    """An example in a pack; the runs count tokens from the start of the pack."""

    runs: list[MaskRun]
    position: RowPosition

    @property
    def end(self) -> int:
        """The end of the example, in tokens from the start of the pack."""
        return self.runs[-1].end

    @property
    def num_tokens(self) -> int:
        """The tokens of the example."""
        return self.end - self.runs[0].start

    @property
    def num_trained(self) -> int:
        """The tokens that have a label."""
        return sum(run.end - run.start for run in self.runs if run.is_trained)


class PackBar(NamedTuple):
    """A pack as a bar of its examples; `capacity` is the tokens that it has room for."""

    sections: list[BarSection]
    capacity: int

    @property
    def num_tokens(self) -> int:
        """The tokens of all examples."""
        return self.sections[-1].end

    @property
    def efficiency(self) -> float:
        """Tokens / capacity, 0 to 1."""
        return efficiency(self.num_tokens, self.capacity)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The bar is as wide as possible; an example of a long pack may have no column."""
        scale, parts, last = options.max_width / self.capacity, list[tuple[str, str]](), 0
        for section, (mark, style) in zip(self.sections, cycle(_EXAMPLES), strict=False):
            column = round(section.end * scale)
            parts.append((mark * (column - last), style))
            last = column
        mark, style = _ROOM
        yield Text.assemble(*parts, (mark * (options.max_width - last), style), no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(MIN_WIDTH, options.max_width)


def pack_bar(pack: Pack, *, capacity: int) -> PackBar:
    """The bar of a pack with one or more examples."""
    starts = accumulate((len(example.input_ids) for example in pack.examples[:-1]), initial=0)
    examples = zip(pack.examples, starts, strict=True)
    return PackBar(
        [BarSection(mask_runs(example, offset=start), example.position) for example, start in examples], capacity
    )


def shown_packs(packs: Sequence[Pack], *, max_length: int) -> Group:
    """A table with one row for each pack, below a line with the totals."""
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True, header_style=MASKED)
    table.add_column("pack", justify="right")
    table.add_column("", ratio=1)
    for name in ("examples", "tokens", "full"):
        table.add_column(name, justify="right")
    bars = [pack_bar(pack, capacity=max_length) for pack in packs]
    for number, bar in enumerate(bars):
        numbers = f"{len(bar.sections)}", f"{bar.num_tokens:,}", f"{bar.efficiency:.1%}"
        table.add_row(str(number), bar, *numbers)
    num_examples, num_tokens = sum(len(bar.sections) for bar in bars), sum(bar.num_tokens for bar in bars)
    title = (
        f"packs {len(packs)} of {max_length:,} tokens, examples {num_examples:,}, tokens {num_tokens:,}, "
        f"efficiency {efficiency(num_tokens, max_length * len(packs)):.2%}"
    )
    return Group(Text(title, HEADER), Text(LEGEND, MASKED), table)
