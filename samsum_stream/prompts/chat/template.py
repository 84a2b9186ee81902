"""A chat template: the Jinja program with which a tokenizer writes a conversation as text.

The template runs in the sandbox of transformers, with the filters and functions of `apply_chat_template`, and gives the
same text. One function differs: `strftime_now` returns a fixed date, so that a run that resumes on another day reads
the same text.
"""

import functools
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

import jinja2
import jinja2.meta
import jinja2.nodes
from transformers.utils import chat_template_utils

from samsum_stream.errors import ConfigError
from samsum_stream.values.conversations import Conversation, Message, reasoning_of

DATE = datetime(2026, 1, 1)
"""The default of the fixed date."""


class TemplateRefusal(Exception):
    """A template cannot write a conversation; the message is that of the template."""


class Undecided(Exception):
    """A template does something with a value that a placeholder cannot show (`tracing`)."""


class CompiledTemplate:
    """A chat template and the variables that are the same for all conversations.

    Args:
        source: The template.
        special_tokens: The special tokens by their names in templates, such as `bos_token`.
        kwargs: The other variables. Those of a conversation replace them.
        date: What `strftime_now` formats.

    Raises:
        ConfigError: the template is not a Jinja template.
    """

    def __init__(
        self,
        source: str,
        *,
        special_tokens: Mapping[str, str],
        kwargs: Mapping[str, Any] | None = None,
        date: datetime = DATE,
    ) -> None:
        self.source, self._arguments = source, (special_tokens, kwargs, date)
        self._variables = {**special_tokens, **(kwargs or {}), "strftime_now": date.strftime}
        try:
            self.compiled: jinja2.Template = chat_template_utils._compile_jinja_template(source)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(
                f"the chat template is not a Jinja template: line {error.lineno}: {error.message}; fix the template"
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:  # a compiled template does not pickle
        special_tokens, kwargs, date = self._arguments
        return functools.partial(CompiledTemplate, special_tokens=special_tokens, kwargs=kwargs, date=date), (
            self.source,
        )

    @cached_property
    def tree(self) -> jinja2.nodes.Template:
        """The syntax tree of the template."""
        return self.compiled.environment.parse(self.source)

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names of the variables that the template reads."""
        return frozenset(jinja2.meta.find_undeclared_variables(self.tree))

    def render(self, conversation: Conversation, *, add_generation_prompt: bool = False) -> str:
        """The text of a conversation, without the tokens that the tokenizer adds.

        Args:
            conversation: The conversation.
            add_generation_prompt: Whether the header of the next assistant turn follows.

        Raises:
            TemplateRefusal: the template raises an error, or cannot use a value of the conversation.
        """
        try:
            return self.compiled.render(
                **{**self._variables, **conversation.kwargs},
                messages=[_with_reasoning_names(message) for message in conversation.messages],
                tools=conversation.tools,
                documents=conversation.documents,
                add_generation_prompt=add_generation_prompt,
            )
        except Undecided:
            raise
        except Exception as error:  # a template computes with the values of a row, so any error can occur
            reason = str(error) if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: {error}"
            raise TemplateRefusal(reason) from error


def _with_reasoning_names(message: Message) -> Message:
    """The message with its reasoning under the two names that templates read, as `apply_chat_template` does."""
    reasoning = reasoning_of(message)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}
