"""The texts of one turn of a conversation, without prompt and format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import shown
from samsum_stream.prompts.checks import check_keys, check_type


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        input: The input.
        response: The response; None if the model generates it.
        contexts: The texts to which the input refers.
        columns: The texts of the columns that the templates name, by name.
    """

    input: str
    response: str | None = None
    contexts: Sequence[str] = ()
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)


def as_example(value: object, *, where: str) -> Message:
    """A few-shot example from a message or from a dict of its fields; in a dict, `contexts` may be one string.

    Args:
        where: The name of the argument, for the message.

    Raises:
        ConfigError: the example has no response, or a field has a wrong type.
    """
    message = value if isinstance(value, Message) else _from_mapping(value, where=where)
    if message.response is None:
        raise ConfigError(f"{where}: an example needs a response; got {shown(message.response)}; add a response")
    check_type(f"{where}.input", message.input, str)
    check_type(f"{where}.response", message.response, str)
    check_type(f"{where}.contexts", message.contexts, Sequence)
    for index, context in enumerate(message.contexts):
        check_type(f"{where}.contexts[{index}]", context, str)
    check_type(f"{where}.columns", message.columns, Mapping)
    for name, text in message.columns.items():
        check_type(f"{where}.columns.{name}", text, str)
    return message


def _from_mapping(value: object, *, where: str) -> Message:
    known = ("input", "response", "contexts", "columns")
    fields = check_keys(where, value, known=known, required=("input", "response"))
    contexts = fields.get("contexts") or ()
    contexts = (contexts,) if isinstance(contexts, str) else contexts
    return Message(fields["input"], fields["response"], contexts, fields.get("columns") or {})
