"""What C1 demands of the examples of a conversation, computed with `apply_chat_template` of transformers alone.

For each trained turn `k`, the oracle computes the ids of the prompt and the ids of the target:

prompt   apply_chat_template(messages[:k], add_generation_prompt=True)
target   apply_chat_template(messages[:k+1]) without the text of the prompt, cut after the stop token

Two parts of the package are used, because `apply_chat_template` has no counterpart: the form in which a template takes
messages (`Forms.adapt`), and for templates that write no stop token or need a splice, the target of `TurnFinder`. Such
a target must end with a stop token and contain the words of the turn.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from transformers.utils import chat_template_utils

from samsum_stream import SFTStream
from samsum_stream.prompts.chat.turns import Turn, Unrenderable
from samsum_stream.values.conversations import Conversation, Message, texts_in
from tests.prompts.chat.templates import GENERATION_STOPS, fix_date

AS_IT_IS, THINKING, SPLICED = "as it is", "with thinking", "spliced"
WORD = "Certainly"
WRITTEN_BY_THE_MODEL = ("content", "reasoning_content", "reasoning", "thinking", "tool_calls")


class Refusal(Exception):
    """The template refuses the messages."""


class Expected(NamedTuple):
    """A turn that can be trained.

    Attributes:
        message: The index of the message.
        prompt_ids: What the model gets at inference before the turn.
        target_ids: What is trained.
        way: How the target was found.
        thinking: The value of `enable_thinking`, if the turn needs one.
    """

    message: int
    prompt_ids: list[int]
    target_ids: list[int]
    way: str
    thinking: bool | None


class Oracle:
    """The examples that C1 demands for conversations.

    Args:
        stream: A stream with the settings of `conversations.stream_of`.

    Attributes:
        words: What the template said when it refused a turn for the last time.
    """

    def __init__(self, stream: SFTStream) -> None:
        loaded = stream.tasks[""].formats.chat
        assert loaded is not None
        self.tokenizer, self.finder, self.forms = stream.tokenizer, loaded.finder, loaded.forms
        self.source, self.words = str(self.tokenizer.chat_template), ""
        added = self.tokenizer.added_tokens_decoder.values()
        self.added = tuple(token.content for token in added if token.content.strip())
        self.added_ids = frozenset(self.tokenizer.convert_tokens_to_ids([*self.added]))
        self.special = tuple(token.content for token in added if token.special)
        self.control = self.tokenizer._get_control_tokens(self.source)
        self.is_plain = self._encode("\nHi") == self._encode("\n") + self._encode("Hi")
        fix_date(self.source)
        question = {"role": "user", "content": "Question"}
        answer = {"role": "assistant", "content": WORD}
        self.tail = self._tail(Conversation([question, answer, question]))

    # ------------------------------------------------------------------------------------------------ one turn

    def turns(self, conversation: Conversation) -> list[Expected | tuple[int, str]]:
        """Each trained turn of a normalized conversation; the message and the reason, if it cannot be trained."""
        adapted = self.forms.adapt(conversation)
        marked = self.marked(adapted)
        return [self._turn(adapted, marked, index) for index in adapted.trained_turns]

    def _turn(self, adapted: Conversation, marked: Conversation, index: int) -> Expected | tuple[int, str]:
        try:
            for way, kwargs in self._ways(adapted.messages[index]):
                prompt = self.text(marked, index, generation=True, **kwargs)
                text = self.text(marked, index + 1, **kwargs)
                if text.startswith(prompt):
                    return self._expected(adapted, marked, index, text.removeprefix(prompt), way, kwargs)
            return self._expected(adapted, marked, index, None, SPLICED, {})
        except Refusal as refusal:
            self.words = str(refusal)
            return index, "template_refuses"

    def _ways(self, message: Message) -> Iterator[tuple[str, dict[str, Any]]]:
        yield AS_IT_IS, {}
        if "enable_thinking" in self.source:
            reasoning = next((message[name] for name in WRITTEN_BY_THE_MODEL[1:4] if name in message), None)
            yield THINKING, {"enable_thinking": bool(reasoning)}

    def _expected(
        self,
        adapted: Conversation,
        marked: Conversation,
        index: int,
        text: str | None,
        way: str,
        kwargs: Mapping[str, Any],
    ) -> Expected | tuple[int, str]:
        is_known = text is not None and not self.finder.stops.missing
        target = self._cut(text) if is_known else self._found(marked, index, text)
        if target is None:
            found = self.finder.turn(marked, index)
            return index, found.reason if text is None and isinstance(found, Unrenderable) else "no_stop_token"
        ids = self.prompt_ids(adapted, marked, index, **kwargs)
        return Expected(index, ids, self.continued_ids(target), way, kwargs.get("enable_thinking"))

    def _tail(self, conversation: Conversation) -> str:
        """What the template writes after the stop token of the last turn: a header, or an eos after another token.

        It is what follows some added token, is not written in the history, and is written after a question, too; or
        it is an eos.
        """
        ending = self.text(conversation, 2).rpartition(WORD)[2].strip()
        try:
            history = self.text(conversation, 3).rpartition(WORD)[2].strip()
            after_question = self.text(conversation, 1).strip()
        except Refusal:
            history = after_question = ""
        ends = sorted({match.end() for token in self.added for match in re.finditer(re.escape(token), ending)})
        for end in ends:
            kept, rest = ending[:end], ending[end:].lstrip()
            is_in_history = history.startswith(kept) and history.removeprefix(kept).lstrip().startswith(rest)
            if rest and not is_in_history and (after_question.endswith(rest) or rest == self.tokenizer.eos_token):
                return rest
        return ""

    def _cut(self, text: str) -> str | None:
        """The text up to its stop token."""
        text = text.rstrip().removesuffix(self.tail).rstrip()
        return text if text.endswith(self.added) else None

    def _found(self, marked: Conversation, index: int, text: str | None) -> str | None:
        """The target of `TurnFinder`, after checks of what can be known without it."""
        turn = self.finder.turn(marked, index)
        if not isinstance(turn, Turn):
            return None
        words = re.sub(r"</?think>", " ", str(marked.messages[index].get("content") or "")).split()
        assert turn.target.endswith(self.added), f"no stop token: {turn.target!r}"
        assert all(word in turn.target for word in words), f"words are missing: {turn.target!r}"
        if text is not None:
            assert turn.target.removeprefix(text) in GENERATION_STOPS, f"not the text of the template: {turn.target!r}"
        return turn.target

    # ------------------------------------------------------------------------------------------ texts and ids

    def text(self, conversation: Conversation, num_messages: int, *, generation: bool = False, **kwargs: Any) -> str:
        """The text of the first messages; raises `Refusal`."""
        text = self._applied(conversation, num_messages, generation=generation, tokenize=False, **kwargs)
        assert isinstance(text, str)
        return text

    def _applied(self, conversation: Conversation, num_messages: int, *, generation: bool, **kwargs: Any) -> Any:
        shared = {**conversation.kwargs, "tools": conversation.tools, "documents": conversation.documents}
        shared["add_generation_prompt"] = generation
        try:
            if num_messages == 0:  # apply_chat_template refuses an empty conversation
                kwargs.pop("tokenize")
                variables = {**self.tokenizer.special_tokens_map, **shared, **kwargs}
                [text], _ = chat_template_utils.render_jinja_template([[]], chat_template=self.source, **variables)
                return text
            messages = [dict(message) for message in conversation.messages[:num_messages]]
            return self.tokenizer.apply_chat_template(messages, return_dict=False, **shared, **kwargs)
        except Exception as error:
            raise Refusal(str(error)) from error

    def prompt_ids(self, adapted: Conversation, marked: Conversation, num_messages: int, **kwargs: Any) -> list[int]:
        """The ids that inference gets before a turn."""
        if num_messages == 0 or self._model_writes_control_tokens(adapted.first(num_messages)):
            return self._ids(self.text(marked, num_messages, generation=True, **kwargs))
        sanitize = {} if marked is adapted else {"sanitize_control_tokens": True}
        return [*self._applied(adapted, num_messages, generation=True, tokenize=True, **sanitize, **kwargs)]

    def continued_ids(self, text: str) -> list[int]:
        """The ids of a text that is encoded separately, after another text."""
        if self.is_plain:
            return self._ids(text)
        newline = self._encode("\n")
        ids = self._ids("\n" + text)
        assert ids[: len(newline)] == newline
        return ids[len(newline) :]

    def _ids(self, text: str) -> list[int]:
        return [*chat_template_utils.encode_marked_chat(self.tokenizer, text)]

    def _encode(self, text: str) -> list[int]:
        return [*self.tokenizer.encode(text, add_special_tokens=False)]

    # ----------------------------------------------------------------------------------------- control tokens

    def marked(self, conversation: Conversation) -> Conversation:
        """The conversation with the marks of `sanitize_control_tokens`; the same object if it spells no control token.

        C1 has an exception: in what the model writes, only special tokens are ordinary text.
        """
        if not any(token in text for text in conversation.texts for token in self.control):
            return conversation
        messages = [
            {name: self._marked(value, self._tokens_of(message, name)) for name, value in message.items()}
            for message in conversation.messages
        ]
        return replace(conversation, messages=messages, tools=self._marked(conversation.tools, self.control))

    def _tokens_of(self, message: Message, name: str) -> Sequence[str]:
        is_by_model = message["role"] == "assistant" and name in WRITTEN_BY_THE_MODEL
        return self.special if is_by_model else self.control

    def _marked(self, value: Any, tokens: Sequence[str]) -> Any:
        pattern, _ = chat_template_utils._get_control_token_patterns(tuple(tokens))
        return chat_template_utils.mark_control_tokens(value, pattern)

    def _model_writes_control_tokens(self, conversation: Conversation) -> bool:
        written = [token for token in self.control if token not in self.special]
        values = [
            message.get(name)
            for message in conversation.messages
            if message["role"] == "assistant"
            for name in WRITTEN_BY_THE_MODEL
        ]
        return any(token in text for text in texts_in(values) for token in written)


def examples_of(turns: Sequence[Expected]) -> list[list[int]]:
    """The ids of the examples, each with as many turns as stay exact."""
    examples: list[list[int]] = []
    for turn in turns:
        matches = [number for number, ids in enumerate(examples) if turn.prompt_ids[: len(ids)] == ids]
        ids = turn.prompt_ids + turn.target_ids
        if matches:
            examples[matches[0]] = ids
        else:
            examples.append(ids)
    return examples
