"""A text with a place for the words of a row."""

from dataclasses import dataclass

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import quoted
from samsum_stream.prompts.segments import Pieces, fixed
from samsum_stream.values.examples import Segment


@dataclass(frozen=True, slots=True)
class Template:
    """What the format writes around a row's words: `"Summary: {text}"` has the parts `("Summary: ", "")`.

    Words are put in between, never formatted themselves, so braces in a row survive.
    """

    parts: tuple[str, ...]

    @property
    def head(self) -> str:
        """What stands before the row's words."""
        return self.parts[0]

    @property
    def tail(self) -> str:
        """What stands behind the row's words."""
        return self.parts[-1]

    def fill(self, words: str) -> Pieces:
        """The pieces `[head, words, tail]`; more of them where the template repeats its placeholder."""
        pieces = [fixed(self.parts[0])]
        for part in self.parts[1:]:
            pieces += (Segment(words, True), fixed(part))
        return pieces

    def numbered(self, index: int) -> "Template":
        """The template with `index` in the place of each `{index}`."""
        return Template(tuple(part.replace("{index}", str(index)) for part in self.parts))


def parse_template(text: str, *, text_key: str, where: str) -> Template:
    """Cut a template at `{text_key}`; one that does not have it may say `{text}`, as all defaults do."""
    for placeholder in (f"{{{text_key}}}", "{text}"):
        if placeholder in text:
            return Template(tuple(text.split(placeholder)))
    raise ConfigError(f"{where}: must say where the text goes; got {quoted(text)}; put {{{text_key}}} there")
