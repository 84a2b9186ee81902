"""Packs as bars, drawn to scale: █ and ▒ are examples in turn, · is room left.

pack                                           examples  tokens   full
   0  ██████▒▒▒▒▒▒▒▒▒███████████▒▒▒▒▒▒▒▒···         4     498  97.3%
"""

from collections.abc import Sequence
from itertools import accumulate, cycle, pairwise

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from samsum_stream.showing.marks import HEADER, MASKED
from samsum_stream.values.batches import Pack

LEGEND = "█▒ examples in turn, · room left"
_EXAMPLES = (("█", "cyan"), ("▒", "blue"))
_ROOM = ("·", MASKED)
MIN_BAR = 8
"""Columns of a bar, however narrow the terminal."""


class Bar:
    """A pack as wide as there is place; an example of a long pack may be thinner than a column."""

    def __init__(self, pack: Pack, *, max_length: int) -> None:
        ends = accumulate((len(example.input_ids) for example in pack.examples), initial=0)
        self.shares = [end / max_length for end in ends]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [round(share * options.max_width) for share in self.shares]
        parts = [
            (mark * (end - start), style)
            for (start, end), (mark, style) in zip(pairwise(columns), cycle(_EXAMPLES), strict=False)
        ]
        mark, style = _ROOM
        yield Text.assemble(*parts, (mark * (options.max_width - columns[-1]), style), no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(MIN_BAR, options.max_width)


def shown_packs(packs: Sequence[Pack], *, max_length: int) -> Group:
    """A row a pack, below what all of them hold."""
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True, header_style=MASKED)
    table.add_column("pack", justify="right")
    table.add_column("", ratio=1)
    for name in ("examples", "tokens", "full"):
        table.add_column(name, justify="right")
    for number, pack in enumerate(packs):
        numbers = f"{len(pack.examples)}", f"{pack.num_tokens:,}", f"{pack.num_tokens / max_length:.1%}"
        table.add_row(str(number), Bar(pack, max_length=max_length), *numbers)
    num_examples, num_tokens = sum(len(pack.examples) for pack in packs), sum(pack.num_tokens for pack in packs)
    title = (
        f"packs {len(packs)} of {max_length:,} tokens, examples {num_examples:,}, tokens {num_tokens:,}, "
        f"efficiency {num_tokens / (max_length * len(packs)):.2%}"
    )
    return Group(Text(title, HEADER), Text(LEGEND, MASKED), table)
