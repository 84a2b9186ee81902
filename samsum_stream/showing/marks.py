"""The marks of examples: trained text, special tokens and characters that a screen hides.

    masked text, dim                        ⟦</s>⟧   a special token
  ┃ masked>>>trained, green<<<              ↵ → ·    the end of a line, a tab, hidden spaces

The marks are the same without colour: each line with trained text has a bar at its left.
"""

import re
from collections.abc import Iterable, Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from samsum_stream.showing.runs import TokenRun

MASKED, TRAINED, SPECIAL, HEADER = "dim", "bold green", "magenta", "bold cyan"
ARROWS = (">>>", "<<<")
"""The marks at the start and at the end of a trained run."""

LEGEND = "masked, ┃ >>>trained<<<, ⟦special token⟧, ↵ line end, → tab, · hidden space"
_MARGIN = ("┃ ", TRAINED)

_HIDDEN_SPACES = re.compile(r"^ +| {2,}| +$", re.MULTILINE)


def visible(text: str) -> str:
    """The text with visible white space, and without characters that control a terminal.

    A character that does not print, such as U+200B, becomes `⟨U+200B⟩`.
    """
    text = _HIDDEN_SPACES.sub(lambda spaces: "·" * len(spaces[0]), text)
    text = text.replace("\t", "→").replace("\n", "↵\n")
    return "".join(char if char.isprintable() or char == "\n" else f"⟨U+{ord(char):04X}⟩" for char in text)


def styled(text: str, *, is_trained: bool, is_special: bool) -> tuple[str, str]:
    """A text with its marks, and its style. Masked special tokens are as bright as trained ones, not dim."""
    style = TRAINED if is_trained else MASKED
    if not is_special:
        return visible(text), style
    return f"⟦{visible(text)}⟧", f"{style} {SPECIAL}" if is_trained else SPECIAL


def marked_text(runs: Iterable[TokenRun]) -> Text:
    """The text of an example, each trained run between arrows."""
    return Text.assemble(*(part for run in runs for part in _marked(run)))


def _marked(run: TokenRun) -> Iterator[tuple[str, str]]:
    start, end = ARROWS if run.is_trained else ("", "")
    yield start, TRAINED
    for text, is_special in run.texts:
        yield styled(text, is_trained=run.is_trained, is_special=is_special)
    yield end, TRAINED


class WithMargin:
    """A text with a bar at the left of each line, after wrapping, that has trained text."""

    def __init__(self, text: Text) -> None:
        self.text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_whole = options.no_wrap  # as with `soft_wrap`
        width = options.max_width - len(_MARGIN[0])
        for line in self.text.split("\n") if is_whole else self.text.wrap(console, width):
            is_trained = any(TRAINED in str(span.style) for span in line.spans)
            yield Text.assemble(_MARGIN if is_trained else "  ", line)
