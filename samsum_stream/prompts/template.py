"""Templates: texts with a placeholder for a text of a row."""

from dataclasses import dataclass

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import quoted
from samsum_stream.prompts.segments import Pieces, fixed, from_row


@dataclass(frozen=True, slots=True)
class Template:
    """A template, split at its placeholders: `"Summary: {text}"` has the parts `("Summary: ", "")`.

    The text of a row is inserted without formatting, so that braces in the text stay unchanged.
    """

    parts: tuple[str, ...]

    @property
    def head(self) -> str:
        """The text before the first placeholder."""
        return self.parts[0]

    @property
    def tail(self) -> str:
        """The text after the last placeholder."""
        return self.parts[-1]

    def fill(self, text: str) -> Pieces:
        """The pieces `[head, text, tail]`; with several placeholders, the text follows each part except the last."""
        pieces = [fixed(self.parts[0])]
        for part in self.parts[1:]:
            pieces += (from_row(text), fixed(part))
        return pieces

    def numbered(self, index: int) -> "Template":
        """The template with each `{index}` replaced by a number."""
        return Template(tuple(part.replace("{index}", str(index)) for part in self.parts))


def parse_template(text: str, *, text_key: str, where: str) -> Template:
    """Split a template at its placeholder: at `{text_key}`, or at `{text}` if it does not contain `{text_key}`.

    Args:
        where: The name of the argument, for the message.

    Raises:
        ConfigError: the template has no placeholder.
    """
    for placeholder in (f"{{{text_key}}}", "{text}"):
        if placeholder in text:
            return Template(tuple(text.split(placeholder)))
    raise ConfigError(f"{where}: must say where the text goes; got {quoted(text)}; put {{{text_key}}} there")
