"""How one speaker of a conversation is marked."""

from dataclasses import dataclass, fields

from samsum_stream.prompts.checks import check_keys, check_type
from samsum_stream.prompts.segments import Pieces, fixed, strip, strip_start


@dataclass(frozen=True, slots=True)
class Role:
    """What stands before and behind the words of a speaker; `strip_text` takes the white space off the words."""

    prefix: str = ""
    suffix: str = ""
    strip_text: bool = True

    def wrap(self, content: Pieces) -> Pieces:
        """Prefix, content, suffix: one piece more at each end."""
        words = strip(content) if self.strip_text else content
        return [fixed(self.prefix), *words, fixed(self.suffix)]

    def begin(self, content: Pieces) -> Pieces:
        """How `wrap` begins when more words follow `content`."""
        words = strip_start(content) if self.strip_text else content
        return [fixed(self.prefix), *words]


def as_role(value: object, *, where: str) -> Role:
    """A role from a role or from a dict of its fields; the fields that it leaves out have a role's plain defaults."""
    if not isinstance(value, Role):
        value = Role(**check_keys(where, value, known=tuple(field.name for field in fields(Role))))
    check_type(f"{where}.prefix", value.prefix, str)
    check_type(f"{where}.suffix", value.suffix, str)
    check_type(f"{where}.strip_text", value.strip_text, bool)
    return value
