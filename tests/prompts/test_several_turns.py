"""C1 and C2 for conversations that a format writes, in text: each turn is trained as inference asks for it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samsum_stream.errors import RowError
from samsum_stream.prompts import FORMATS, Message, Prompt, PromptFormat, Role
from samsum_stream.prompts.rendering import PromptRenderer
from samsum_stream.prompts.segments import prompt_of, text_of
from samsum_stream.prompts.several_turns import ConversationRenderer
from samsum_stream.values.conversations import Conversation
from samsum_stream.values.examples import Event
from samsum_stream.values.renderings import Problem, Segment, runs_of
from samsum_stream.values.rows import Conversations, Rows

BOS, EOS = "<s>", "</s>"
PROMPTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "templates": {
        "system_message": "Be brief.",
        "input_template": "Q: {text}",
        "response_template": "Summary: {text}",
    },
    "repeated": {"input_template": "{text} or {text}", "response_template": "{text}\n{text}"},
    "examples": {
        "system_message": "Be brief.",
        "examples": [{"input": "1 + 1?", "response": "2", "contexts": ["Sums."]}],
    },
}
STYLES: dict[str, PromptFormat] = {
    **{name: style() for name, style in FORMATS.items() if issubclass(style, PromptFormat)},
    "spaces": PromptFormat(response=Role(" A: ", "\n \n"), role_separator=" "),
    "eos in the suffix": PromptFormat(input=Role("U:"), response=Role("A: ", f"{EOS}\n")),
    "bos and eos": PromptFormat(input=Role("U:"), response=Role("A:\n ", "!"), BOS=BOS, EOS=EOS),
    "eos and a line": PromptFormat(response=Role("A: "), BOS=f"{BOS} ", EOS=f"{EOS}\n"),
    "nothing": PromptFormat(role_separator=""),
}


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def assistant(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


TWO = [user("Hi"), assistant("Yes"), user("And"), assistant("No")]

any_text = st.lists(
    st.sampled_from([" ", "\n", "Hi", "é", BOS, EOS, "<|im_end|>", "{text}", "\u00a0", "\t"]), max_size=3
).map("".join)
answer_text = st.tuples(any_text, st.sampled_from(["x", EOS, "{index}"]), any_text).map("".join)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    pairs = draw(st.lists(st.tuples(any_text, answer_text), min_size=1, max_size=4))
    messages = [message for question, answer in pairs for message in (user(question), assistant(answer))]
    start = draw(st.lists(any_text.map(system), max_size=1))
    conversation = Conversation([*start, *messages])
    turns = conversation.assistant_turns
    trained = draw(st.none() | st.lists(st.sampled_from(turns), unique=True).map(sorted))
    return replace(conversation, trained=trained)


def rows_of(*conversations: Conversation) -> Rows:
    """Rows that have the numbers 10, 11, ... in shard 3."""
    num = len(conversations)
    return Rows(Conversations([*conversations]), np.full(num, 3, np.int32), np.arange(10, 10 + num))


def renderer_of(style: str, prompt: str = "plain", *, bos: str = BOS, eos: str = EOS) -> ConversationRenderer:
    return ConversationRenderer(Prompt(**PROMPTS[prompt], format=STYLES[style]), bos=bos, eos=eos)


def runs(renderer: ConversationRenderer, conversation: Conversation) -> list[tuple[bool, str]]:
    """The runs of the only example of a conversation, each with whether it is trained."""
    renderings = renderer.render(rows_of(conversation))
    assert not renderings.problems
    assert len(renderings) == 1
    texts, shape = runs_of(renderings.segments(0))
    assert renderings.texts == texts
    assert renderings.shapes == (shape,)
    assert [run.trained for run in shape] == [index % 2 == 1 for index in range(len(shape))]
    return [(run.trained, text) for run, text in zip(shape, texts, strict=True)]


def messages_of(conversation: Conversation) -> list[Message]:
    """The turns of a conversation."""
    texts = [message["content"] for message in conversation.messages if message["role"] != "system"]
    return [Message(*pair) for pair in zip(texts[::2], texts[1::2], strict=True)]


def prompt_with_system(prompt: Prompt, conversation: Conversation) -> Prompt:
    first = conversation.messages[0]
    return replace(prompt, system_message=first["content"]) if first["role"] == "system" else prompt


every_style = pytest.mark.parametrize("style", STYLES)
every_prompt = pytest.mark.parametrize("prompt", PROMPTS)


@every_prompt
@every_style
@settings(max_examples=15)
@given(conversation=conversations())
def test_the_text_before_each_trained_turn_is_that_of_inference(
    style: str, prompt: str, conversation: Conversation
) -> None:
    renderer = renderer_of(style, prompt)
    example = runs(renderer, conversation)
    for number, turn in enumerate(conversation.trained_turns):
        before = "".join(text for _, text in example[: 2 * number + 1])
        for cut in (conversation.first(turn), conversation.first(turn + 1)):
            for trained in (None, ()):
                segments = renderer.prompt_segments(rows_of(replace(cut, trained=trained)), 0)
                assert text_of(segments) == before
                assert not any(segment.trained for segment in segments)


@every_prompt
@every_style
@settings(max_examples=15)
@given(conversation=conversations())
def test_each_trained_run_is_the_completion_of_its_turn_as_a_row_and_an_eos(
    style: str, prompt: str, conversation: Conversation
) -> None:
    renderer = renderer_of(style, prompt)
    single = PromptRenderer(renderer.prompt, bos=BOS, eos=EOS)
    turns = dict(zip(conversation.assistant_turns, messages_of(conversation), strict=True))
    expected = []
    for turn in conversation.trained_turns:
        segments = single.segments(turns[turn])
        is_last = turn == len(conversation.messages) - 1
        expected.append(text_of(segments[len(prompt_of(segments)) :]) + ("" if is_last else EOS))
    assert [text for trained, text in runs(renderer, conversation) if trained] == expected


@every_prompt
@every_style
@settings(max_examples=15)
@given(conversation=conversations())
def test_the_text_is_that_of_the_prompt_except_for_the_eos(style: str, prompt: str, conversation: Conversation) -> None:
    renderer = renderer_of(style, prompt)
    text = renderer.full_text(rows_of(conversation), 0)
    rendered = prompt_with_system(renderer.prompt, conversation).render(messages_of(conversation))
    if STYLES[style].BOS:
        assert rendered.startswith(BOS)
        rendered = rendered.removeprefix(BOS)
    writes_eos = EOS in STYLES[style].EOS + STYLES[style].response.suffix
    assert (text if writes_eos else text.replace(EOS, "")) == (rendered if writes_eos else rendered.replace(EOS, ""))
    example = runs(renderer, conversation)
    ends_trained = len(conversation.messages) - 1 in conversation.trained_turns
    assert "".join(run for _, run in example) == (text.removesuffix(EOS) if writes_eos and ends_trained else text)


@every_prompt
@every_style
@settings(max_examples=15)
@given(question=any_text, answer=answer_text)
def test_a_conversation_of_one_turn_is_rendered_like_a_row(style: str, prompt: str, question: str, answer: str) -> None:
    renderer, rows = renderer_of(style, prompt), rows_of(Conversation([user(question), assistant(answer)]))
    single = PromptRenderer(renderer.prompt, bos=BOS, eos=EOS).segments(Message(question, answer))
    assert tuple(renderer.render(rows).segments(0)) == tuple(single)
    assert text_of(renderer.prompt_segments(rows, 0)) == text_of(prompt_of(single))


@every_style
@given(conversation=conversations())
@settings(max_examples=15)
def test_the_texts_of_the_messages_come_from_the_row(style: str, conversation: Conversation) -> None:
    segments = renderer_of(style).render(rows_of(conversation)).segments(0)
    words = "".join(message["content"] for message in conversation.messages)
    assert "".join(text_of(segment for segment in segments if segment.from_row).split()) == "".join(words.split())


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("PromptFormat", ["Hi\n", "Yes</s>", "\nAnd\n", "No"]),
        ("UserAssistantFormat", ["User: Hi\nAssistant:", " Yes</s>", "\nUser: And\nAssistant:", " No"]),
        ("VicunaFormat", ["USER: Hi\nASSISTANT:", " Yes</s>", "\n<s>USER: And\nASSISTANT:", " No"]),
        ("RedpajamaFormat", ["<human>: Hi\n<bot>:", " Yes</s>", "\n<human>: And\n<bot>:", " No"]),
        ("Llama2Format", ["[INST] Hi [/INST]", " Yes </s>", "<s>[INST] And [/INST]", " No "]),
        ("TogetherLlama2Format", ["[INST]  Hi  [/INST]\n\n", "Yes</s>", "[INST]  And  [/INST]\n\n", "No"]),
        (
            "ChatMLFormat",
            [
                "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
                "Yes<|im_end|></s>",
                "\n<|im_start|>user\nAnd<|im_end|>\n<|im_start|>assistant\n",
                "No<|im_end|>",
            ],
        ),
        (
            "DollyFormat",
            [
                "### Instruction:\nHi\n\n### Response:\n",
                "Yes</s>",
                "\n\n### Instruction:\nAnd\n\n### Response:\n",
                "No",
            ],
        ),
    ],
)
def test_each_format_writes_two_turns(style: str, expected: list[str]) -> None:
    assert [text for _, text in runs(renderer_of(style), Conversation(TWO))] == expected


def test_an_eos_in_the_suffix_is_not_written_twice() -> None:
    example = runs(renderer_of("ChatMLFormat", eos="<|im_end|>"), Conversation(TWO))
    assert [text for trained, text in example if trained] == ["Yes<|im_end|>", "No"]


def test_white_space_of_the_format_follows_the_eos() -> None:
    example = [text for _, text in runs(renderer_of("eos in the suffix"), Conversation(TWO))]
    assert example == ["U:Hi\nA:", f" Yes{EOS}", "\n\nU:And\nA:", " No"]


def test_an_eos_that_the_row_spells_does_not_end_a_response() -> None:
    messages = [user("Hi"), assistant("Yes</s>"), user("And"), assistant("No</s>")]
    example = [text for _, text in runs(renderer_of("PromptFormat"), Conversation(messages))]
    assert example == ["Hi\n", "Yes</s></s>", "\nAnd\n", "No</s>"]


def test_the_bos_stays_if_the_tokenizer_adds_none() -> None:
    assert runs(renderer_of("VicunaFormat", bos=""), Conversation(TWO))[0] == (False, "<s>USER: Hi\nASSISTANT:")


@pytest.mark.parametrize(
    ("trained", "expected"),
    [
        ([1], ["User: Hi\nAssistant:", " Yes</s>", "\nUser: And\nAssistant: No"]),
        ([3], ["User: Hi\nAssistant: Yes</s>\nUser: And\nAssistant:", " No"]),
        ([], ["User: Hi\nAssistant: Yes</s>\nUser: And\nAssistant: No"]),
    ],
)
def test_a_turn_that_is_not_trained_ends_with_the_eos_too(trained: list[int], expected: list[str]) -> None:
    example = runs(renderer_of("UserAssistantFormat"), Conversation(TWO, trained=trained))
    assert [text for _, text in example] == expected


def test_an_empty_text_between_two_answers_keeps_their_runs_apart() -> None:
    messages = [user(""), assistant("Yes"), user(""), assistant("No")]
    assert runs(renderer_of("nothing"), Conversation(messages)) == [
        (False, ""),
        (True, "Yes</s>"),
        (False, ""),
        (True, "No"),
    ]


@pytest.mark.parametrize(
    ("prompt", "content", "expected"),
    [
        ("templates", "Sing.", "Sing.\nUSER: Q: Hi\nASSISTANT: Summary:"),
        ("templates", "", "USER: Q: Hi\nASSISTANT: Summary:"),
        ("examples", "Sing.", "Sing.\nSums.\nUSER: 1 + 1?\nASSISTANT: 2</s>\n<s>USER: Hi\nASSISTANT:"),
    ],
)
def test_the_system_message_of_a_conversation_replaces_that_of_the_prompt(
    prompt: str, content: str, expected: str
) -> None:
    renderer = renderer_of("VicunaFormat", prompt)
    first = runs(renderer, Conversation([system(content), *TWO]))[0][1]
    assert first.replace("USER: Sums.\n1 + 1?", "Sums.\nUSER: 1 + 1?") == expected


# ------------------------------------------------------------------------------------------------- inference


def test_a_conversation_that_waits_for_an_answer_has_the_prompt_of_that_answer() -> None:
    renderer = renderer_of("UserAssistantFormat")
    waiting, answered = Conversation(TWO[:3]), Conversation(TWO)
    expected = (
        Segment("User: ", from_row=False, trained=False),
        Segment("Hi", from_row=True, trained=False),
        Segment("\nAssistant: ", from_row=False, trained=False),
        Segment("Yes", from_row=True, trained=False),
        Segment("</s>\nUser: ", from_row=False, trained=False),
        Segment("And", from_row=True, trained=False),
        Segment("\nAssistant:", from_row=False, trained=False),
    )
    for conversation in (waiting, answered):
        assert tuple(renderer.prompt_segments(rows_of(conversation), 0)) == expected


@every_style
@given(
    prefill=st.sampled_from(["Sure", "Sure:\n", "Sure ", " Sure", "\n"]),
    rest=st.sampled_from(["x", " x", "\nx"]),
    earlier=st.booleans(),
)
def test_a_prefill_belongs_to_the_prompt(style: str, prefill: str, rest: str, earlier: bool) -> None:
    for prompt in PROMPTS:
        renderer = renderer_of(style, prompt)
        history = TWO if earlier else []
        conversation = Conversation([*history, user("Hi"), assistant(prefill + rest)], prefill=prefill)
        whole = runs(renderer, replace(conversation, prefill=""))
        *before, (_, completion) = runs(renderer, conversation)
        assert "".join(text for _, text in (*before, (True, completion))) == "".join(text for _, text in whole)
        assert completion.lstrip().startswith("x")
        waiting = replace(conversation, messages=[*history, user("Hi")])
        for row in (conversation, waiting):
            assert "".join(text for _, text in before) == text_of(renderer.prompt_segments(rows_of(row), 0))


# ------------------------------------------------------------------------------------------------- borders


def test_a_turn_after_a_border_that_is_not_exact_starts_a_new_example() -> None:
    def continuation(left: str, right: str, *, follows_turn: bool = False) -> str | None:
        return None if "Yes" in left and follows_turn else right

    messages = [*TWO, user("Or"), assistant("Maybe"), user("So"), assistant("Bye")]
    prompt = Prompt(format=STYLES["UserAssistantFormat"])
    renderer = ConversationRenderer(prompt, bos=BOS, eos=EOS, continuation=continuation)
    renderings = renderer.render(rows_of(Conversation(TWO[:2]), Conversation(messages, prefill="B")))
    assert [runs_of(renderings.segments(index))[0] for index in range(len(renderings))] == [
        ["User: Hi\nAssistant:", " Yes"],
        ["User: Hi\nAssistant:", " Yes"],
        [
            "User: Hi\nAssistant: Yes</s>\nUser: And\nAssistant:",
            " No</s>",
            "\nUser: Or\nAssistant:",
            " Maybe</s>",
            "\nUser: So\nAssistant: B",
            "ye",
        ],
    ]
    assert renderings.rows.tolist() == [0, 1, 1]
    assert renderings.events == [Event(1, 1, "splits.border")]


@given(conversation=conversations())
def test_without_any_exact_border_each_turn_is_its_own_example(conversation: Conversation) -> None:
    renderer = renderer_of("VicunaFormat")
    together = runs(renderer, conversation)
    renderer.continuation = lambda left, right, follows_turn=False: None
    renderings = renderer.render(rows_of(conversation))
    assert len(renderings) == max(1, len(conversation.trained_turns))
    for number, turn in enumerate(conversation.trained_turns):
        before, answer = renderings.texts[2 * number : 2 * number + 2]
        assert before == text_of(renderer.prompt_segments(rows_of(conversation.first(turn)), 0))
        is_cut = len(conversation.trained_turns) > 1 and turn < len(conversation.messages) - 1
        assert answer + (EOS if is_cut else "") == together[2 * number + 1][1]


def test_messages_that_were_removed_after_the_last_turn_are_counted() -> None:
    renderings = renderer_of("VicunaFormat").render(rows_of(Conversation(TWO), Conversation(TWO, num_removed=1)))
    assert renderings.events == [Event(1, 0, "turns.after_last_turn")]


# ------------------------------------------------------------------------------------------------- bad conversations

CALL = {"id": "a", "type": "function", "function": {"name": "add", "arguments": {}}}
BAD: dict[str, tuple[Conversation, str, str]] = {
    "no message": (Conversation([]), "messages", "the row has no user message"),
    "only a system message": (Conversation([system("S")]), "messages", "the row has no user message"),
    "starts with the assistant": (Conversation([assistant("A")]), "messages", 'messages[0] has the role "assistant"'),
    "two users": (
        Conversation([user("A"), user("B"), assistant("C")]),
        "messages",
        'messages[1] has the role "user", and a prompt format needs the role "assistant" there',
    ),
    "two assistants": (
        Conversation([*TWO, assistant("B")]),
        "messages",
        'messages[4] has the role "assistant", and a prompt format needs the role "user" there',
    ),
    "a late system message": (Conversation([*TWO, system("S")]), "messages", 'messages[4] has the role "system"'),
    "two system messages": (
        Conversation([system("S"), system("S"), *TWO]),
        "messages",
        'messages[1] has the role "sys',
    ),
    "an unknown role": (Conversation([{"role": "developer", "content": "S"}, *TWO]), "messages", 'role "developer"'),
    "a tool result": (
        Conversation([*TWO[:2], {"role": "tool", "content": "1"}, TWO[3]]),
        "messages",
        'messages[2] has the role "tool"',
    ),
    "a tool call": (
        Conversation([user("A"), assistant("B", tool_calls=[CALL])]),
        "messages",
        "messages[1] has tool_calls",
    ),
    "reasoning": (
        Conversation([user("A"), assistant("B", reasoning_content="C")]),
        "messages",
        "messages[1] has reasoning",
    ),
    "parts": (
        Conversation([user([{"type": "text", "text": "A"}]), assistant("B")]),
        "messages",
        "messages[0].content is a list",
    ),
    "null": (Conversation([user("A"), assistant(None)]), "messages", "messages[1].content is null"),
    "a blank answer": (Conversation([user("A"), assistant(" \n")]), "messages", r'messages[1].content is " \n"'),
    "tools": (Conversation(TWO, tools=[{"type": "function"}]), "tools", "the row has tools"),
    "documents": (Conversation(TWO, documents=[{"text": "D"}]), "documents", "the row has documents"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_conversation_that_a_format_cannot_write_is_a_problem(name: str) -> None:
    conversation, field, text = BAD[name]
    renderer, good = renderer_of("ChatMLFormat"), Conversation(TWO)
    renderings = renderer.render(rows_of(good, conversation, good))
    [(index, problem)] = renderings.problems.items()
    assert (index, problem.field, problem.reason) == (1, field, "bad_conversation")
    assert text in problem.text
    assert problem.text.endswith("; use a chat template (prompt_format_config: {method: ChatTemplate})")
    assert renderings.rows.tolist() == [0, 2]
    assert renderings.num_rendered.tolist() == [1, 0, 1]
    assert renderings.texts == renderer.render(rows_of(good, good)).texts
    with pytest.raises(RowError, match=r"prompt format") as raised:
        renderer.full_text(rows_of(conversation), 0)
    assert (str(raised.value), raised.value.field, raised.value.reason) == (problem.text, field, problem.reason)


def test_training_needs_an_answer_at_the_end() -> None:
    renderings = renderer_of("ChatMLFormat").render(rows_of(Conversation(TWO[:3])))
    assert len(renderings) == 0
    assert renderings.problems == {
        0: Problem(
            "messages",
            "bad_conversation",
            'the last message has the role "user", and a prompt format needs one of the assistant; '
            "use a chat template (prompt_format_config: {method: ChatTemplate})",
        )
    }


@pytest.mark.parametrize("messages", [[], [system("S")], [assistant("A")], [user("A"), user("B")], [*TWO, TWO[1]]])
def test_a_prompt_of_such_a_conversation_is_an_error(messages: Sequence[dict[str, Any]]) -> None:
    with pytest.raises(RowError, match=r"ChatTemplate"):
        renderer_of("ChatMLFormat").prompt_segments(rows_of(Conversation(messages)), 0)


def test_empty_tools_documents_and_calls_are_none() -> None:
    messages = [TWO[0], assistant("Yes", tool_calls=[], reasoning_content=""), *TWO[2:]]
    conversation = Conversation(messages, tools=[], documents=[])
    renderer = renderer_of("ChatMLFormat")
    assert runs(renderer, conversation) == runs(renderer, Conversation(TWO))


def test_no_row_gives_no_example() -> None:
    assert len(renderer_of("ChatMLFormat").render(rows_of())) == 0
