"""In which formats a stream writes its rows, and what the chat template of its tokenizer would write instead."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import counted
from samsum_stream.inspection.check.facts import Facts, TaskFacts
from samsum_stream.prompts import ChatTemplate, Prompt
from samsum_stream.prompts.chat.instructions import InstructionWriter, completion_of
from samsum_stream.prompts.chat.loading import LoadedTemplate, TokenizerTexts, load_template
from samsum_stream.prompts.chat.template import TemplateRefusal
from samsum_stream.prompts.completions import CompletionRenderer
from samsum_stream.prompts.message import Message as InstructionMessage
from samsum_stream.prompts.rendering import PromptRenderer, Renderer, RowRenderer
from samsum_stream.prompts.several_turns import ConversationRenderer
from samsum_stream.stream.renderers import tokenizer_texts
from samsum_stream.values.conversations import Conversation
from samsum_stream.values.rows import Content, Conversations, Instructions, Rows

_QUESTION, _ANSWER = "Question", "Answer"
_TURN = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]
_CONVERSATION = Conversation([*_TURN, *_TURN])

REASONING = {
    "field": "reasoning in reasoning_content",
    "inline": "reasoning in the content, between <think> and </think>",
    "drop": "without reasoning",
}
CALLS = {"mapping": "arguments of tool calls as a dict", "string": "arguments of tool calls as JSON text"}


class OtherFormat(NamedTuple):
    """A format that is not the chat template of the tokenizer.

    Attributes:
        name: The name of the format.
        written: What it writes for a question and an answer.
        own: What the chat template writes; empty if the template cannot be used.
    """

    name: str
    written: str
    own: str


def described(facts: Facts) -> Iterator[tuple[str, str]]:
    """The format of each kind of rows, with a heading."""
    for task in facts.tasks:
        for kind in task.kinds:
            renderer = renderer_of(task, kind)
            if task.loaded is not None and kind in task.built.formats.chat_kinds:
                described = f"{_chat_template(task.loaded, texts_of(facts))}; {_per_row(task)}"
                yield "format", f"{task.title}{described}"
            elif kind is Conversations:
                yield "prompt", f"{task.title}{name_of(renderer)}; {_per_row(task)}"
            else:
                yield "prompt", f"{task.title}{name_of(renderer)}"


def renderer_of(task: TaskFacts, kind: type) -> Renderer:
    """The renderer of rows of a kind."""
    renderer = task.built.encoder.renderer
    return renderer.renderers[kind] if isinstance(renderer, RowRenderer) else renderer


def name_of(renderer: Renderer) -> str:
    """The name of a format for people."""
    if isinstance(renderer, CompletionRenderer):
        return "prompt and completion, without a format"
    prompt = prompt_of(renderer)
    if prompt is None:
        return type(renderer).__name__
    shots = f", {counted(len(prompt.examples), 'example')} before each row" if prompt.examples else ""
    return f"{type(prompt).__name__} in {type(prompt.format).__name__}{shots}"


def prompt_of(renderer: Renderer) -> Prompt | None:
    """The prompt of a renderer; None if it uses none."""
    return renderer.prompt if isinstance(renderer, PromptRenderer | ConversationRenderer) else None


def texts_of(facts: Facts) -> TokenizerTexts:
    """What a chat template needs to know about the tokenizer of a stream."""
    return tokenizer_texts(facts.stream.tokenizer, facts.config)


def other_format(facts: Facts, task: TaskFacts, kind: type) -> OtherFormat | None:
    """The format of rows of a kind, if the tokenizer has a chat template that would write other texts."""
    if not facts.stream.tokenizer.chat_template or kind in task.built.formats.chat_kinds:
        return None
    renderer, own = renderer_of(task, kind), ""
    written = renderer.full_text(_probe(kind), 0)
    try:
        loaded = load_template(ChatTemplate(), texts_of(facts))
        own = loaded.template.render(_conversation(renderer, kind))
    except (ConfigError, TemplateRefusal):
        pass  # a template for images, or one that needs tools: it surely writes another text
    is_same = _without_edges(facts, own) == _without_edges(facts, written)
    return None if is_same else OtherFormat(name_of(renderer), written, own)


def _probe(kind: type) -> Rows:
    content: Content = Conversations([_CONVERSATION])
    if issubclass(kind, Instructions):
        content = kind([_QUESTION], [_ANSWER])
    return Rows(content, np.zeros(1, np.int32), np.zeros(1, np.int64))


def _conversation(renderer: Renderer, kind: type) -> Conversation:
    """The probe as the chat template would get it."""
    prompt = prompt_of(renderer)
    if kind is Conversations:
        return _CONVERSATION
    if prompt is None:
        return completion_of(_QUESTION, _ANSWER)
    writer = InstructionWriter(prompt, has_documents=False)
    return writer.conversation(InstructionMessage(input=_QUESTION, response=_ANSWER))


def _without_edges(facts: Facts, text: str) -> str:
    """A text without the bos and the eos, which are added as ids."""
    tokenizer = facts.stream.tokenizer
    return text.strip().removeprefix(str(tokenizer.bos_token)).removesuffix(str(tokenizer.eos_token)).strip()


def _chat_template(loaded: LoadedTemplate, texts: TokenizerTexts) -> str:
    forms, template = loaded.forms, loaded.settings.template
    origin = "of the tokenizer"
    if template is not None and template not in texts.templates:
        origin = "in the config" if template == loaded.template.source else template
    elif template is not None:
        origin = f"{template} of the tokenizer"
    calls = "no tool calls" if "tool_calls" in forms.lost else CALLS[forms.arguments]
    reasoning = "without reasoning" if "reasoning" in forms.lost else REASONING[forms.reasoning]
    return f"ChatTemplate ({origin}), {calls}, {reasoning}"


def _per_row(task: TaskFacts) -> str:
    """The examples and the tokens of a row."""
    num_rows = max(sum(sample.num_rows for sample in task.samples), 1)
    num_examples = sum(sample.measured.num_examples for sample in task.samples)
    num_tokens = sum(sample.measured.num_tokens for sample in task.samples)
    examples = f"{num_examples / num_rows:,.1f}".removesuffix(".0")
    noun = "example" if examples == "1" else "examples"
    return f"{examples} {noun} and {num_tokens / num_rows:,.0f} tokens per row"
