"""The markup of a conversation: the order of the roles, and the texts before, after and between them.

    BOS  system · contexts · input · response  EOS
           └─────────┴── nested: inside the input role

Each · is the `role_separator`, which also separates turns.
"""

# ruff: noqa: RUF009  (roles are frozen, so they can be defaults)

import re
from dataclasses import dataclass, fields

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import shown
from samsum_stream.prompts.checks import check_type
from samsum_stream.prompts.role import Role, as_role
from samsum_stream.prompts.segments import Pieces, fixed, join

_SPECIAL_TOKEN = re.compile(r"<\|[^<>|]+\|>")
ROLES = ("input", "response", "system", "contexts", "examples")


@dataclass(frozen=True, kw_only=True)
class PromptFormat:
    """The plain format: one role per line, without markup.

    Args:
        input: The role of the input. Each role is a `Role`, or a dict of the fields of a `Role`.
        response: The role of the response.
        system: The role of the system message.
        contexts: The role of all contexts of a turn together.
        examples: The role of all few-shot examples together.
        nested_system: Whether the system message is inside the input role.
        nested_contexts: Whether the contexts are inside the input role.
        strip_stop_strings: Whether white space is stripped from `stop_strings`.
        role_separator: The text between roles, and between turns.
        content_separator: The text between two contexts.
        BOS: The text at the start of each turn.
        EOS: The text at the end of each response.

    Raises:
        ConfigError: an argument has a wrong type.
    """

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
        for role in ROLES:
            object.__setattr__(self, role, as_role(getattr(self, role), where=f"{name}.{role}"))
        for field in fields(PromptFormat):
            if field.name not in ROLES:
                check_type(f"{name}.{field.name}", getattr(self, field.name), type(field.default))

    def request(self, *, system: Pieces, contexts: Pieces, input: Pieces) -> Pieces:
        """The pieces of a turn before its response.

        Args:
            system: The system message in its role; empty if there is none.
            contexts: The contexts in their role; empty if there are none.
            input: The text of the input, without its role.
        """
        optional = [(system, self.nested_system), (contexts, self.nested_contexts)]
        inside = [part for part, nested in optional if part and nested]
        before = [part for part, nested in optional if part and not nested]
        wrapped = self.input.wrap(join([*inside, input], self.role_separator))
        return [fixed(self.BOS), *join([*before, wrapped], self.role_separator)]

    def system_only(self, system: Pieces) -> Pieces:
        """The system message without a turn; `system` is the message in its role, or empty."""
        return self.input.wrap(system) if system and self.nested_system else system

    @property
    def stop_strings(self) -> list[str]:
        """The prefixes and suffixes of all roles. A model that generates one of them has begun another role."""
        marks = self._marks()
        if self.strip_stop_strings:
            marks = [mark.strip() for mark in marks]
        return [mark for mark in marks if mark]

    @property
    def special_strings(self) -> tuple[str, ...]:
        """The texts of the format that the tokenizer should have as special tokens: `<s>`, `<|im_end|>`."""
        marks = [*self._marks(), self.role_separator, self.content_separator]
        tokens = [token for mark in marks for token in _SPECIAL_TOKEN.findall(mark)]
        return tuple(dict.fromkeys(token for token in (self.BOS, self.EOS, *tokens) if token))

    def _marks(self) -> list[str]:
        roles: list[Role] = [getattr(self, role) for role in ROLES]
        return [mark for role in roles for mark in (role.prefix, role.suffix)]


def as_format(value: object, *, where: str) -> PromptFormat:
    """`value` itself if it is a format; the plain format if `value` is None.

    Raises:
        ConfigError: `value` is something else.
    """
    if value is None:
        return PromptFormat()
    if not isinstance(value, PromptFormat):
        got = value.__name__ if isinstance(value, type) else shown(value)
        raise ConfigError(f"{where}: must be a PromptFormat; got {got}; pass an instance, such as VicunaFormat()")
    return value
