"""Frames: conversations of one shape have the texts that the template writes for each of them."""

from typing import Any

import pytest
from tokenizers import AddedToken

from samsum_stream import SFTStream
from samsum_stream.prompts.chat.slots import SlotText, parsed
from samsum_stream.prompts.chat.template import CompiledTemplate
from tests.contracts.conversations import TWELVE, all_templates, small_tokenizer, tokenizer_for
from tests.contracts.conversations import stream_of as contract_stream_of
from tests.prompts.chat.templates import HEADER

NEUTRAL = ["1000", "2000", "some", "twenty one"]
CALLS = (
    r"{% for c in m.tool_calls or [] %}"
    r"{{ '[' ~ c.id ~ c.function.name ~ (c.function.arguments | tojson) ~ ']' }}"
    r"{% endfor %}"
)


def template(text: str, *, before: str = "") -> str:
    """A template that writes `text` for each message but those of the assistant; `ns.calls` are the last tool calls."""
    return (
        r"{% set ns = namespace(calls=[]) %}"
        r"{% for m in messages %}{% if m.tool_calls %}{% set ns.calls = m.tool_calls %}{% endif %}"
        r"{{ '<|im_start|>' ~ m.role ~ '\n' }}"
        f"{before}{{% if m.role == 'assistant' %}}{{{{ m.content }}}}{{% else %}}{{{{ {text} }}}}{{% endif %}}{CALLS}"
        r"{{ '<|im_end|>\n' }}{% endfor %}" + HEADER
    )


def stream_of(
    rows: list[dict[str, Any]],
    source: str,
    *,
    frames: bool = True,
    config: dict[str, Any] | None = None,
    end: str | AddedToken = "<|im_end|>",
    **kwargs: Any,
) -> SFTStream:
    tokenizer = small_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", end]})
    tokenizer.chat_template = source
    settings = {
        "packing_config": {"method": "none"},
        "shuffle": False,
        "lanes": 1,
        "prompt_format_config": {"method": "ChatTemplate", "kwargs": {"frames": frames, **kwargs}},
    }
    return SFTStream.from_config({**settings, **(config or {})}, rows=rows, tokenizer=tokenizer)


def assert_same(rows: list[dict[str, Any]], source: str, **kwargs: Any) -> None:
    """The ids and the trained spans of all rows are the same with and without frames."""
    found, expected = (
        [
            (example.input_ids.tolist(), example.spans.tolist())
            for pack in stream_of(rows, source, frames=frames, **kwargs)
            for example in pack.examples
        ]
        for frames in (True, False)
    )
    assert found == expected


def chat(text: str, answer: str = "1 2", *more: str) -> dict[str, Any]:
    """A conversation of a user and an assistant in turn."""
    roles = ("user", "assistant") * (1 + len(more))
    texts = zip(roles, (text, answer, *more), strict=False)
    return {"messages": [{"role": role, "content": content} for role, content in texts]}


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("m.content[:20]", "long " * 30),
        ("m.content | truncate(20)", "long " * 30),
        ("m.content if m.content | length < 100 else 'long'", "long " * 30),
        ("m.content if m.content | wordcount < 20 else 'long'", "long " * 30),
        ("m.content if m.content.split() | length < 20 else 'long'", "long " * 30),
        ("m.content if m.content.splitlines() | length < 20 else 'long'", "long\n" * 30),
        ("m.content if m.content.count('long') < 20 else 'long'", "long " * 30),
        ("m.content | upper", "Hello"),
        ("m.content.title()", "hello"),
        ("m.content | replace('l', 'r')", "Hello"),
        ("m.content.strip('He')", "Hello"),
        ("'an error' if 'fail' in m.content | lower else m.content", "It FAILS"),
        ("'an error' if m.content | lower == 'fail' else m.content", "FAIL"),
        ("'an error' if m.content | trim == 'fail' else m.content", " fail "),
        ("'an error' if m.content[:4] == 'fail' else m.content", "fails"),
        ("'json' if m.content[0] == '{' else m.content", "{}"),
        ("'json' if m.content | first == '{' else m.content", "{}"),
        ("'json' if m.content.startswith('{') else m.content", "{}"),
        ("'a number' if m.content | int > 5 else m.content", "7"),
        ("'upper' if m.content is upper else m.content", "UPPER"),
        ("'upper' if m.content.isupper() else m.content", "UPPER"),
        ("'short' if m.content | length < 3 else m.content", "ok"),
        ("'short' if m.content | trim | length == 1 else m.content", "A "),
        ("'twice' if m.content == messages[-1].content else m.content", "1 2"),
        ("m.content ~ ('' if m.content[-1] in '.!?' else '.')", "Hello!"),
        ("m.content.strip(' ')", "  Hello  "),
        ("m.content.strip('\\r\\n')", "Hello\r\n"),
        ("m.content | trim | indent(4)", "two\nlines"),
        ("'thinking' if 'thinking' in m.content else m.content", "I am thinking"),
        ("('=' ~ m.content) | replace('=x', '!')", "x"),
        ("'joined' if '=x' in '=' ~ m.content else m.content", "xy"),
        ("'joined' if 'x=' in m.content ~ '=' else m.content", "yx"),
        ("m.content | safe", "<b>"),
        ("('<' | safe) + m.content", "<b>"),
        ("'%.5s' % m.content", "a long text"),
        ("'{:.5}'.format(m.content)", "a long text"),
        ("m.content | list | join", "Hello"),
        ("m.content * 2", "Hello"),
        ("'big' if m.content > 'm' else m.content", "zebra"),
        ("'found' if 'needle' in (m | string) else m.content", "a needle"),
        ("'found' if 'needle' in ('' ~ [m.content]) else m.content", "a needle"),
        ("'found' if '\\\\n' in (m.content | tojson) else m.content", "two\nlines"),
        ("'long' if -(m.content | length) < -50 else m.content", "long " * 30),
        ("'found' if {'needle': 1}[m.content] is defined else m.content", "needle"),
        ("'found' if {'needle': 1}.get(m.content) else m.content", "needle"),
        ("[m.content, 'b'] | sort | first", "c"),
        ("range(9)[: m.content | length] | length ~ ''", "ok"),
        ("'5' if '5' in (m.content | length ~ '') else m.content", "12345"),
        ("'short' if m.content | length in [2, 3] else m.content", "ab"),
        ("'long' if m.content | length | tojson | int > 50 else m.content", "long " * 30),
        ("'found' if 'needle' in m.values() else m.content", "needle"),
        ("'found' if 'needle' in ('' ~ m.values()) else m.content", "needle"),
        ("'found' if 'needle' in (messages | trim) else m.content", "needle"),
        ("(m.content, 1).count('needle') ~ m.content", "needle"),
        ("'%-30s|' % m.content", "Hi"),
        ("m.content.format()", "a {{b}} c"),
        ("'twice' if m.content ~ m.content == 'haha' else m.content", "ha"),
        ("('Q:' ~ m.content) | replace(': ', ':')", " Hello"),
        ("m.content | trim | tojson | tojson", 'a "b"'),
        ("(m.content | trim | tojson)[1:-1]", 'a "b"'),
        ("('' | safe).join([m.content])", "a<b"),
        ("'stop words' | replace(m.content, 'X')", "stop"),
        ("('Q: ' ~ m.content | trim) | tojson", 'say "hi"\nx'),
        ("{'content': 'Q: ' ~ m.content.strip()} | tojson", 'say "hi"'),
        ("m.content.strip('\\n') | tojson", 'say "hi"'),
        ("'\"' ~ m.content | trim ~ '\"'", 'say "hi"'),
        ("messages[:1] | map(attribute='content') | map('trim') | join('; ') | tojson", 'say "hi"'),
        ("'short' if (m.content ~ 'abc').endswith('abc', 0, 5) else m.content", "ok"),
        ("'short' if (m.content ~ 'abc').startswith('abc', 2) else m.content", "ok"),
    ],
)
def test_a_text_on_which_a_template_decides(expression: str, text: str) -> None:
    assert_same([*map(chat, NEUTRAL), chat(text), chat("three")], template(expression))


@pytest.mark.parametrize(
    ("before", "expression"),
    [
        (r"{% set end = '</think>' %}", "m.content.split(end)[-1]"),
        (r"{% set end = '</think>' %}", "'reasoning' if end in m.content else m.content"),
        (r"{% set end = '</think>' %}{% set other = end %}", "'reasoning' if other in m.content else m.content"),
        (
            r"{% for end in ['</think>', '[/T]'] %}{% if end in m.content %}{{ 'reasoning' }}{% endif %}{% endfor %}",
            "m.content",
        ),
        (r"{% set ns.end = '</think>' %}", "'reasoning' if ns.end in m.content else m.content"),
        (r"{% set o = namespace(end='</think>') %}", "'reasoning' if o.end in m.content else m.content"),
        (
            r"{% for end, name in [('</think>', 'A')] %}{% if end in m.content %}{{ name }}{% endif %}{% endfor %}",
            "m.content",
        ),
        (r"{% set ends = ['hm</think>hi'] %}", "'reasoning' if m.content in ends else m.content"),
        (r"{% set c = m.content %}", "c[:10]"),
        (r"{% set c = m.content | lower %}", "'stop' if c == 'hm</think>hi' else m.content"),
        (r"{% set c = m.content | trim %}", "'stop' if c == 'hm</think>hi' else m.content"),
        (r"{% for c in m.content %}{% if c == '/' %}{{ 'slash' }}{% endif %}{% endfor %}", "m.content"),
        (r"{% macro ends(c) %}{{ 'end' if '</think>' in c }}{% endmacro %}{{ ends(m.content) }}", "m.content"),
    ],
)
def test_a_text_that_a_template_compares_with_a_variable(before: str, expression: str) -> None:
    assert_same([*map(chat, NEUTRAL), chat("hm</think>hi")], template(expression, before=before))


def counted_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with each run of a template."""
    runs, render = [], CompiledTemplate.render

    def counted(self: CompiledTemplate, *args: Any, **kwargs: Any) -> str:
        runs.append(1)
        return render(self, *args, **kwargs)

    monkeypatch.setattr(CompiledTemplate, "render", counted)
    return runs


def test_a_shape_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The template runs for the first conversation of a shape, and not for the others."""
    runs = counted_runs(monkeypatch)
    for rows in ([chat(f"question {n}") for n in range(200)], [tool_chat([0, 1], ids=(n, n + 1)) for n in range(200)]):
        stream = stream_of(rows, template("m.content"))
        runs.clear()
        assert len([*stream]) == 200
        assert len(runs) < 20


@pytest.mark.parametrize("name", [name for name in TWELVE if name != "trl/deepseekv3"])  # it has no exact turn
def test_well_known_templates_have_frames(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [chat(f"question {number}", "an answer", f"another {number}", "the end") for number in range(60)]
    stream = contract_stream_of(tokenizer_for(all_templates()[name]), rows)
    runs = counted_runs(monkeypatch)
    assert len([*stream]) >= 60
    assert len(runs) < 60


def call(number: int, *, name: str, value: str) -> dict[str, Any]:
    return {
        "type": "function",
        "id": f"call{number:05}",
        "function": {"name": name, "arguments": {"question": value}},
    }


def tool_chat(
    results: list[int], *, ids: tuple[int, int] = (1, 2), names: tuple[str, str] = ("find", "ask"), value: str = "x"
) -> dict[str, Any]:
    """Two parallel calls, with their results in the order of `results`."""
    calls = [call(number, name=name, value=value) for number, name in zip(ids, names, strict=True)]
    answers = [{"role": "tool", "tool_call_id": f"call{ids[number]:05}", "content": f"{number}"} for number in results]
    return {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "", "tool_calls": calls},
            *answers,
            {"role": "assistant", "content": "Bye"},
        ]
    }


@pytest.mark.parametrize(
    "expression",
    [
        "(m.tool_call_id or '') ~ m.content",
        "(ns.calls | selectattr('id', 'equalto', m.tool_call_id) | map(attribute='function.name') | join) ~ m.content",
        "(ns.calls[0].id == m.tool_call_id if ns.calls else '') ~ m.content",
    ],
)
def test_results_in_another_order(expression: str) -> None:
    rows = [tool_chat(results, ids=ids) for ids in [(1, 2), (7, 8)] for results in [[0, 1], [1, 0], [0, 1]]]
    assert_same(rows, template(expression))


@pytest.mark.parametrize(
    "expression",
    [
        "'python' if ns.calls and ns.calls[-1].function.name == 'python' else m.content",
        "'same' if ns.calls and ns.calls[0].function.name == ns.calls[1].function.name else m.content",
        "'long' if ns.calls and ns.calls[0].function.arguments | tojson | length > 50 else m.content",
    ],
)
def test_a_call_on_which_a_template_decides(expression: str) -> None:
    rows = [tool_chat([0, 1], ids=(number, number + 1)) for number in (1, 3, 5)]
    attacks = [
        tool_chat([0, 1], names=("find", "python")),
        tool_chat([0, 1], names=("ask", "ask")),
        tool_chat([0, 1], value="long " * 30),
    ]
    assert_same([*rows, *attacks], template(expression))


@pytest.mark.parametrize(
    "expression",
    [
        "('same ' if m == messages[-2] else '') ~ m.content",
        "('first ' if m != messages[0] else '') ~ m.content",
        "messages.index(m) ~ m.content",
        "('new ' if messages[0].content not in m.content else '') ~ m.content",
        "('new ' if m.content | trim != messages[0].content | trim else '') ~ m.content",
        "(messages | map(attribute='content') | unique | list | length) ~ m.content",
        "('same ' if m.items() == messages[0].items() and not loop.first else '') ~ m.content",
        "('same ' if [m.items()] == [messages[0].items()] and not loop.first else '') ~ m.content",
    ],
)
def test_texts_that_a_template_compares_with_each_other(expression: str) -> None:
    rows = [chat("One", "Two", "Three", "Four"), chat("Hi", "Ok", "Hi", "No"), chat("Hi", "Ok", "Hi ", "Hi you")]
    assert_same([*rows, chat("B", "A", "D", "C")], template(expression))


@pytest.mark.parametrize(
    "expression",
    [
        "'any' if not tools[0].function.parameters.properties else 'some'",
        "tools[0].function.parameters.required | join",
        "tools | sort(attribute='function.name') | map(attribute='function.name') | join",
        "tools[0].function.parameters | tojson(sort_keys=true)",
        "tools[0].function.parameters | tojson(indent=4)",
        "tools[0].function | length",
        "{tools[0].function.name: 1, tools[1].function.name: 2} | tojson",
        "dict([[tools[0].function.name, 1], [tools[1].function.name, 2]]) | tojson",
        "('# ' ~ (tools[0].function.description | trim)) | tojson",
        "'quoted' if '\"b\"' in tools[0].function.description else 'not'",
    ],
)
def test_tools_on_which_a_template_decides(expression: str) -> None:
    source = template(f"(({expression}) if tools else '') ~ m.content")
    city = {"properties": {"b": {"type": "string"}, "a": {"type": "string"}}, "required": ["b"]}
    rows = [("a", "b", {}), ("b", "a", {}), ("a", "b", city), ("c", "d", city), ("a", "a", {})]
    assert_same([with_tools(one, other, **parameters) for one, other, parameters in rows], source)


def test_a_number_in_a_tool() -> None:
    rows = [with_tools("a"), with_tools("b"), with_tools("c")]
    for number, row in enumerate(rows):
        row["tools"][0]["function"]["version"] = number + 1
    assert_same(rows, template("(tools[0].function.version if tools else '') ~ m.content"))


def with_tools(*names: str, **parameters: Any) -> dict[str, Any]:
    """A conversation with a tool for each name."""
    schema = {"type": "object", "properties": {}, **parameters}
    described = 'Does "b".' if names[0] == "b" else "Does."
    functions = [{"name": name, "description": described, "parameters": schema} for name in names]
    return {**chat("Hi"), "tools": [{"type": "function", "function": function} for function in functions]}


@pytest.mark.parametrize("expression", ["c.function.arguments.code", "c.function.arguments | length"])
def test_arguments_on_which_a_template_decides(expression: str) -> None:
    source = template("m.content").replace("~ (c.function.arguments", f"~ ({expression}) ~ (c.function.arguments")
    rows = [tool_chat([0, 1], ids=(number, number + 1)) for number in (1, 3, 5)]
    rows[1]["messages"][1]["tool_calls"][0]["function"]["arguments"] = {"code": "x", "question": "y"}
    assert_same(rows, source)


def test_a_loop_over_arguments() -> None:
    source = template("m.content").replace("{{ '[' ~", "{% for name in c.function.arguments %}.{% endfor %}{{ '[' ~")
    rows = [tool_chat([0, 1], ids=(number, number + 1)) for number in (1, 3, 5)]
    rows[2]["messages"][1]["tool_calls"][0]["function"]["arguments"] = {"question": "x", "code": "y"}
    assert_same(rows, source)


@pytest.mark.parametrize(
    "arguments",
    [
        "separators=(',', ': ')",
        "separators=(', ', ':')",
        "separators=(',', ':')",
        "indent=2, separators=(', ', ': ')",
        "indent=4",
    ],
)
def test_how_a_template_writes_json(arguments: str) -> None:
    source = template("m.content").replace("arguments | tojson", f"arguments | tojson({arguments})")
    rows = [tool_chat([0, 1], ids=(number, number + 1)) for number in (1, 3, 5)]
    rows[2]["messages"][1]["tool_calls"][0]["function"]["arguments"] = {"question": "x", "more": [1, {"a": 2}]}
    assert_same(rows, source)


def test_the_order_of_keys_in_a_variable_of_a_row() -> None:
    variables = [{"extra": {"a": 1, "b": 2}}, {"extra": {"b": 2, "a": 1}}]
    rows = [{**chat("Hi"), "template_kwargs": {"custom_tools": [variable]}} for variable in variables]
    assert_same(rows, template("(custom_tools | default([]) | tojson) ~ m.content"))


def test_a_name_that_a_template_completes_to_a_token() -> None:
    """The template also uses the word in `<|im_end|>`, so the word is not marked."""
    rows = [chat("Hi"), chat("Ho"), chat("Hi"), chat("Ha")]
    for row, name in zip(rows, ("bob", "ann", "im_end", "x"), strict=True):
        row["messages"][0]["name"] = name
    source = template("('<|' ~ m.name ~ '|>' if m.name else '') ~ m.content ~ ('!' if m.role == 'im_end' else '')")
    assert_same(rows, source)


def test_newlines_of_a_template_beside_a_stripped_value() -> None:
    assert_same([chat("\n\n\nHi"), chat("Hi"), chat("Ho")], template(r"'\n\n\n' ~ m.content.strip('\n')"))
    assert_same([chat("Hi\n\n\n"), chat("Hi"), chat("Ho")], template(r"m.content.strip('\n') ~ '\n\n\n'"))


def test_white_space_of_an_answer_that_belongs_to_its_prompt() -> None:
    source = (
        r"{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ ':' ~ m.content.lstrip('\n') ~ '<|im_end|>' }}"
        r"{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}"
    )
    skips = {"fault_config": {"on_bad_row": "skip", "max_bad_rows": 99}}
    assert_same([chat("Q", "   Hello"), chat("Q", "Hello"), chat("Q", "x")], source, config=skips)


@pytest.mark.parametrize("first", ["Q\n", "Q"])
def test_a_token_that_joins_the_end_of_some_questions_and_the_answer(first: str) -> None:
    """The prompt of a turn ends with the question, and the target starts with newlines."""
    answer = r"'\n\nA: ' ~ m.content ~ eos_token"
    source = f"{{% for m in messages %}}{{{{ m.content if m.role == 'user' else {answer} }}}}{{% endfor %}}"
    question, reply = chat("a", "b")["messages"]
    known = [{"messages": [question] * number + [reply]} for number in range(1, 5)]  # frames that are right
    assert_same([*known, chat(first, "a", "R", "b"), chat("Q", "a", "R", "b"), chat("Say", "a", "R", "b")], source)


def test_a_conversation_has_as_few_examples_with_a_frame_as_without() -> None:
    """The template strips earlier answers, which changes the text of some conversations only."""
    answer = "{% if loop.last %}{{ m.content }}{% else %}{{ m.content.lstrip('\\n') }}{% endif %}"
    source = template("m.content").replace("{{ m.content }}", answer, 1)
    texts = [str(number) for number in range(16)]
    question, answers = {"role": "user", "content": "a"}, chat("a", "b")["messages"]
    known = [{"messages": [question] * number + answers} for number in range(4)]  # frames that are right
    assert_same([*known, *(chat(*texts[:number]) for number in (4, 6, 8, 10, 12, 14, 16))], source)
    assert_same([chat("a", "b", "c", "d"), chat("a", "\n\nb", "c", "d")], source)


@pytest.mark.parametrize("header", ["", "\n", " ", "\nA: "])
def test_a_value_before_the_border_of_a_turn(header: str) -> None:
    """A token can join the end of a question and the start of the answer."""
    source = r"{% for m in messages %}{{ m.content ~ (header if m.role == 'user' else eos_token) }}{% endfor %}"
    source = source.replace("header", repr(header))
    questions = ("Question.", "Ask \n", "Hel", "x `", "don", "1", "\n\n", "Is it? ")
    answers = ("Answer.", "lo", "\nYes", "``", "'t", "2", " No", "\n\nNo")
    assert_same([chat(q, a, "Go.", "Yes.") for q in questions for a in answers], source)


def test_a_value_after_the_border_of_a_turn() -> None:
    """A stop token can include the white space at the start of the next question."""
    source = r"{% for m in messages %}{{ m.content ~ ('\nA: ' if m.role == 'user' else '<|im_end|>') }}{% endfor %}"
    rows = [chat("Hi", "Ho", "Go.", "Yes."), chat("Hi", "Ho", "  Go.", "Yes.")]
    assert_same(rows, source, end=AddedToken("<|im_end|>", rstrip=True, normalized=False))


def test_an_answer_that_has_the_end_of_its_prompt() -> None:
    """Without `enable_thinking`, the prompt ends with a text that an answer of a row can continue."""
    source = template("m.content").replace(
        "assistant\\n' }}", "assistant\\n' ~ ('[T]' if enable_thinking | default(true) else '') }}"
    )
    rows = [chat("Hi", "Ho"), chat("Hi", "[T]Ho"), chat("Hi", "a", "b", "[T]c"), chat("Hi", "[T]a", "b", "c")]
    skips = {"fault_config": {"on_bad_row": "skip", "max_bad_rows": 99}}
    assert_same([*rows, *rows], source, config=skips)


def test_a_spliced_answer_that_has_the_end_of_its_prompt_with_enable_thinking() -> None:
    """An answer of a row can continue the prompt with `enable_thinking`; other answers are spliced."""
    number = "{{ '' if enable_thinking is defined else '[' ~ messages | length ~ ']' }}"
    source = number + template("m.content").replace(
        "assistant\\n' }}", "assistant\\n' ~ ('[T]' if enable_thinking is defined else '') }}"
    )
    rows = [chat("Hi", "Ho"), chat("Hi", "[T]Ho"), chat("Hi", "a", "b", "[T]c"), chat("Hi", "[T]a", "b", "c")]
    skips = {"fault_config": {"on_bad_row": "skip", "max_bad_rows": 99}}
    assert_same([*rows, *rows], source, config=skips)


def test_a_turn_that_is_left_out_for_some_values() -> None:
    """Only an answer that starts with the end of its prompt continues the prompt of the first turn."""
    source = template("m.content").replace(
        "assistant\\n' }}", "assistant\\n' ~ ('[T]' if messages | length == 1 else '') }}"
    )
    rows = [chat("q", "a", "r", "b"), chat("q", "[T]a", "r", "b"), chat("q", "c", "r", "d")]
    skips = {"fault_config": {"on_bad_row": "skip", "max_bad_rows": 99}}
    assert_same([*rows, *rows], source, config=skips, on_unrenderable_turn="skip")


def test_a_frame_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame is compared with the template on the first conversation that it fills."""

    def wrong(*args: Any) -> SlotText | None:
        text = parsed(*args)
        return text and text._replace(slots=tuple(slot._replace(transform=str.upper) for slot in text.slots))

    monkeypatch.setattr("samsum_stream.prompts.chat.frames.parsed", wrong)
    assert_same([chat("one", "two"), chat("three", "four")], template("m.content"))


def test_reasoning_in_a_content_is_not_trained_if_the_config_says_so() -> None:
    rows = [chat("Hi", "Ho"), chat("Hi", "Ho"), chat("Hi", "<think>R</think>Ho"), chat("Hi", "Ha")]
    with_variables = [{**row, "template_kwargs": {"custom_tools": []}} for row in rows]
    assert_same([*rows, *with_variables], template("m.content"), config={"loss_config": {"reasoning": False}})


def test_an_edge_of_a_placeholder_is_no_text_of_the_template() -> None:
    assert_same([chat("Hello   \n"), chat("Hi"), chat("Hi   ")], template("m.content.lstrip().rstrip('\\n')"))


def test_a_template_that_escapes_has_no_frames() -> None:
    escaped = "{% autoescape true %}{{ m.content }}{% endautoescape %}"
    source = template("m.content").replace("{% else %}{{ m.content }}", "{% else %}" + escaped)
    assert_same([chat("Hello"), chat("a<b"), chat("c")], source)
