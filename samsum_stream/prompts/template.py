"""Templates: texts with placeholders for texts of a row.

"{question}\\nOptions: {options}"      parts ("", "\\nOptions: ", ""), names ("question", "options")
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import did_you_mean, quoted
from samsum_stream.prompts.segments import Pieces, fixed, from_row

FIELD = "text"
"""The name of the text that a template is for: of the input, of a context, or of the response."""

INDEX = "index"
"""The name of the number of a context."""

_NAME = r"[^\W\d][^{}\[\]()<>:;,!=\"'`\\\n]*"
"""The name of a column in a placeholder. Braces around anything else, such as JSON, are text."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template, split at its placeholders: `"Summary: {text}"` has the parts `("Summary: ", "")`.

    The texts of a row are inserted without formatting, so that braces in them stay unchanged.

    Attributes:
        parts: The fixed texts, length `p + 1`.
        names: The names between them, length `p`: `FIELD`, or a column of the row.
    """

    parts: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def head(self) -> str:
        """The text before the first placeholder."""
        return self.parts[0]

    @property
    def tail(self) -> str:
        """The text after the last placeholder."""
        return self.parts[-1]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the template names, without repeats."""
        return tuple(dict.fromkeys(name for name in self.names if name != FIELD))

    def words(self, text: str, columns: Mapping[str, str]) -> list[str]:
        """The texts for the placeholders, in their order.

        Raises:
            ConfigError: there is no text for a column.
        """
        try:
            return [text if name == FIELD else columns[name] for name in self.names]
        except KeyError as error:
            name = str(error.args[0])
            raise ConfigError(
                f"a template names the column {{{name}}}, and the message has no such column; "
                f"{did_you_mean(name, columns)}; pass it, as in Message(..., columns={{{name!r}: ...}})"
            ) from None

    def fill(self, text: str, columns: Mapping[str, str]) -> Pieces:
        """The pieces `[head, word, part, word, part, ...]`."""
        pieces = [fixed(self.parts[0])]
        for word, part in zip(self.words(text, columns), self.parts[1:], strict=True):
            pieces += (from_row(word), fixed(part))
        return pieces

    def numbered(self, index: int) -> "Template":
        """The template with each `{index}` replaced by a number."""
        parts, names = [self.parts[0]], list[str]()
        for name, part in zip(self.names, self.parts[1:], strict=True):
            if name == INDEX:
                parts[-1] += f"{index}{part}"
            else:
                names.append(name)
                parts.append(part)
        return Template(tuple(parts), tuple(names))


def parse_template(text: str, *, text_key: str, where: str) -> Template:
    """Split a template at its placeholders: `{text}` or `{text_key}`, and names of columns; `{{` is a brace.

    Args:
        where: The name of the argument, for the message.

    Raises:
        ConfigError: the template has no placeholder.
    """
    parts, names, end = [""], list[str](), 0
    for match in _marks(text_key).finditer(text):
        parts[-1] += text[end : match.start()]
        end = match.end()
        if match["name"] is None:
            parts[-1] += match[0][0]
        else:
            names.append(FIELD if match["name"] == text_key else match["name"])
            parts.append("")
    parts[-1] += text[end:]
    if not names:
        doubled = f"; doubled braces are text, so write {{{{{{{text_key}}}}}}}" if f"{{{text_key}}}" in text else ""
        raise ConfigError(
            f"{where}: must say where the text goes; got {quoted(text)}{doubled}; put {{{text_key}}} there"
        )
    return Template(tuple(parts), tuple(names))


def loose_braces(text: str, *, text_key: str) -> str:
    """The text from the first brace on that is neither part of a placeholder nor doubled; empty if there is none."""
    blanked = _marks(text_key).sub(lambda match: " " * len(match[0]), text)
    loose = re.search(r"[{}]", blanked)
    return "" if loose is None else text[loose.start() :]


def _marks(text_key: str) -> re.Pattern[str]:
    return re.compile(rf"\{{\{{|\}}\}}|\{{(?P<name>{re.escape(text_key)}|{_NAME})\}}")
