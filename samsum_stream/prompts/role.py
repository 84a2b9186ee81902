"""The markup of one speaker of a conversation."""

from dataclasses import dataclass, fields

from samsum_stream.prompts.checks import check_keys, check_type
from samsum_stream.prompts.segments import Pieces, fixed, strip, strip_start


@dataclass(frozen=True, slots=True)
class Role:
    """The markup around the text of a speaker.

    Attributes:
        prefix: The text before.
        suffix: The text after.
        strip_text: Whether white space is stripped from the text of the speaker.
    """

    prefix: str = ""
    suffix: str = ""
    strip_text: bool = True

    def wrap(self, content: Pieces) -> Pieces:
        """The pieces `[prefix, *content, suffix]`."""
        stripped = strip(content) if self.strip_text else content
        return [fixed(self.prefix), *stripped, fixed(self.suffix)]

    def begin(self, content: Pieces) -> Pieces:
        """The pieces `[prefix, *content]`, for a content that more text follows: only its start is stripped."""
        stripped = strip_start(content) if self.strip_text else content
        return [fixed(self.prefix), *stripped]


def as_role(value: object, *, where: str) -> Role:
    """A role from a role or from a dict of its fields. A field that the dict omits has the default of `Role`.

    Args:
        where: The name of the argument, for the message.

    Raises:
        ConfigError: a field is unknown or has a wrong type.
    """
    if not isinstance(value, Role):
        value = Role(**check_keys(where, value, known=tuple(field.name for field in fields(Role))))
    check_type(f"{where}.prefix", value.prefix, str)
    check_type(f"{where}.suffix", value.suffix, str)
    check_type(f"{where}.strip_text", value.strip_text, bool)
    return value
