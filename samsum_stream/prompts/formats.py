"""How a conversation is written down: who says what, in which order, between which marks.

    BOS  system · contexts · input · response  EOS
           └─────────┴── nested: inside the input role

Each · is the `role_separator`; it stands between turns as well.
"""

# ruff: noqa: RUF009  (roles and formats are frozen, so they can be defaults)

import re
from dataclasses import dataclass, fields

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import shown
from samsum_stream.prompts.checks import check_type
from samsum_stream.prompts.role import Role, as_role
from samsum_stream.prompts.segments import Pieces, fixed, join

_SPECIAL_TOKEN = re.compile(r"<\|[^<>|]+\|>")
_ROLES = ("input", "response", "system", "contexts", "examples")


@dataclass(frozen=True, kw_only=True)
class PromptFormat:
    """The plain format: one role a line, no marks. Each argument overrides a default; a dict is read as a `Role`."""

    input: Role = Role()
    response: Role = Role()
    system: Role = Role()
    contexts: Role = Role()
    examples: Role = Role()
    nested_system: bool = False
    nested_contexts: bool = True
    strip_stop_strings: bool = True
    role_separator: str = "\n"
    content_separator: str = "\n"
    BOS: str = ""
    EOS: str = ""

    def __post_init__(self) -> None:
        name = type(self).__name__
        for role in _ROLES:
            object.__setattr__(self, role, as_role(getattr(self, role), where=f"{name}.{role}"))
        for field in fields(PromptFormat):
            if field.name not in _ROLES:
                check_type(f"{name}.{field.name}", getattr(self, field.name), type(field.default))

    def request(self, *, system: Pieces, contexts: Pieces, input: Pieces) -> Pieces:
        """A turn up to its response, from the words of the input and the wrapped system and contexts, if any."""
        optional = [(system, self.nested_system), (contexts, self.nested_contexts)]
        inside = [part for part, nested in optional if part and nested]
        before = [part for part, nested in optional if part and not nested]
        wrapped = self.input.wrap(join([*inside, input], self.role_separator))
        return [fixed(self.BOS), *join([*before, wrapped], self.role_separator)]

    def system_only(self, system: Pieces) -> Pieces:
        """The wrapped system text where no turn follows."""
        return self.input.wrap(system) if system and self.nested_system else system

    @property
    def stop_strings(self) -> list[str]:
        """What a model writes when it has begun to speak for somebody else."""
        marks = self._marks()
        if self.strip_stop_strings:
            marks = [mark.strip() for mark in marks]
        return [mark for mark in marks if mark]

    @property
    def special_strings(self) -> tuple[str, ...]:
        """What the format spells that a tokenizer should know as special tokens."""
        marks = [*self._marks(), self.role_separator, self.content_separator]
        spelt = [token for mark in marks for token in _SPECIAL_TOKEN.findall(mark)]
        return tuple(dict.fromkeys(token for token in (self.BOS, self.EOS, *spelt) if token))

    def _marks(self) -> list[str]:
        roles: list[Role] = [getattr(self, role) for role in _ROLES]
        return [mark for role in roles for mark in (role.prefix, role.suffix)]


def as_format(value: object, *, where: str) -> PromptFormat:
    """A format from a format; None is the plain one."""
    if value is None:
        return PromptFormat()
    if not isinstance(value, PromptFormat):
        got = value.__name__ if isinstance(value, type) else shown(value)
        raise ConfigError(f"{where}: must be a PromptFormat; got {got}; pass an instance, such as VicunaFormat()")
    return value
