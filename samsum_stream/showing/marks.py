"""The visual language of examples: what is trained, and what a screen would hide.

    masked text, dim                        ⟦</s>⟧   a special token
  ┃ masked>>>trained, green<<<              ↵ → ·    the end of a line, a tab, spaces that would not be seen

It is the same without colour: a bar stands beside each line that holds something trained.
"""

import re
from collections.abc import Iterable
from itertools import groupby

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from samsum_stream.showing.pieces import Piece

MASKED, TRAINED, SPECIAL, HEADER = "dim", "bold green", "magenta", "bold cyan"
LEGEND = "masked, ┃ >>>trained<<<, ⟦special token⟧, ↵ line end, → tab, · hidden space"
_BAR = ("┃ ", TRAINED)

_HIDDEN_SPACES = re.compile(r"^ +| {2,}| +$", re.MULTILINE)


def visible(text: str) -> str:
    """The text with its white space in sight, and no character in it that could steer a terminal.

    What does not print, such as U+200B, is named `⟨U+200B⟩`.
    """
    seen = _HIDDEN_SPACES.sub(lambda spaces: "·" * len(spaces[0]), text)
    seen = seen.replace("\t", "→").replace("\n", "↵\n")
    return "".join(each if each.isprintable() or each == "\n" else f"⟨U+{ord(each):04X}⟩" for each in seen)


def marked(masked: Iterable[Piece], trained: Iterable[Piece]) -> Text:
    """The text of an example, its trained part between arrows."""
    return Text.assemble(*_styled(masked, MASKED), (">>>", TRAINED), *_styled(trained, TRAINED), ("<<<", TRAINED))


def _styled(pieces: Iterable[Piece], style: str) -> list[tuple[str, str]]:
    """Neighbours that are ordinary text are one piece of it: a space between two words is in sight."""
    parts = []
    for is_special, run in groupby(pieces, key=lambda piece: piece.is_special):
        texts = [piece.text for piece in run]
        if is_special:
            parts += [special(text, style) for text in texts]
        else:
            parts.append((visible("".join(texts)), style))
    return parts


def special(text: str, style: str) -> tuple[str, str]:
    """A special token and its style: as bright where it is masked, so that it is seen."""
    return f"⟦{visible(text)}⟧", SPECIAL if style == MASKED else f"{style} {SPECIAL}"


class Barred:
    """A text with a bar beside each of its lines, as they are wrapped, that holds something trained."""

    def __init__(self, text: Text) -> None:
        self.text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_whole = options.no_wrap  # as with `soft_wrap`
        width = options.max_width - len(_BAR[0])
        for line in self.text.split("\n") if is_whole else self.text.wrap(console, width):
            is_trained = any(TRAINED in str(span.style) for span in line.spans)
            yield Text.assemble(_BAR if is_trained else "  ", line)
