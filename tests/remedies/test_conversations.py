"""The remedies of messages about conversations and chat templates."""

from typing import Any

from tests.inspection.test_check_conversations import NEVER_IN_FRONT, WITH_A_SWITCH
from tests.prompts.chat.templates import CHATML, FORGETS_REASONING, HEADER, NO_STOP_TOKEN
from tests.remedies.following import Remedy, follow, parametrized, row, setting

USER: dict[str, Any] = {"role": "user", "content": "one"}
ANSWER: dict[str, Any] = {"role": "assistant", "content": "two"}
SYSTEM: dict[str, Any] = {"role": "system", "content": "be"}
NEXT: dict[str, Any] = {"role": "user", "content": "three"}
THOUGHT = {**ANSWER, "reasoning_content": "hm"}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"a": 1}}]}
RESULT = {"role": "tool", "content": "7"}
TOOLS = (
    r"{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content }}"
    r"{% for c in m.tool_calls or [] %}{{ '<tool>' ~ c.function.name ~ c.function.arguments | tojson }}{% endfor %}"
    r"{{ '<|im_end|>\n' }}{% endfor %}" + HEADER
)
CHAT: dict[str, Any] = {"template": CHATML}


def chat(*messages: Any, **others: Any) -> dict[str, Any]:
    return {"messages": [*messages], **others}


def section(**kwargs: Any) -> dict[str, Any]:
    return {"conversation_config": kwargs}


def fixed(text: str, bad: dict[str, Any], good: dict[str, Any], **config: Any) -> Remedy:
    """A row whose message says how to write it."""
    return row(text, bad, good, good=chat(USER, ANSWER), **{**CHAT, **config})


def set_to(text: str, bad: dict[str, Any], works: dict[str, Any], **config: Any) -> Remedy:
    """A row whose message names a setting."""
    return setting(text, bad, works, good=chat(USER, ANSWER), **{**CHAT, **config})


def start(*messages: Any, completion: Any = (ANSWER,)) -> dict[str, Any]:
    return {"prompt": [USER, *messages], "completion": [*completion]}


def of_completion(text: str, bad: dict[str, Any], good: dict[str, Any], **config: Any) -> Remedy:
    return row(text, bad, good, good=start(), **CHAT, **config)


TOOL = {"name": "f", "description": "d", "parameters": {}}

ROWS = {
    "role, mapped": set_to(
        "`conversation_config: {roles: {narrator: user}}`",
        chat({"role": "narrator", "content": "one"}, ANSWER),
        section(roles={"narrator": "user"}),
    ),
    "role, meant": fixed("did you mean 'user'?", chat({**USER, "role": "usr"}, ANSWER), chat(USER, ANSWER)),
    "role, named": Remedy(
        "`conversation_config: {fields: {role: ...}}`",
        {"rows": [chat({"who": "user", "content": "one"}, {"who": "assistant", "content": "two"})], **CHAT},
        section(fields={"role": "who"}),
    ),
    "content, named": Remedy(
        "`conversation_config: {fields: {content: ...}}`",
        {"rows": [chat({"role": "user", "said": "one"}, {"role": "assistant", "said": "two"})], **CHAT},
        section(fields={"content": "said"}),
    ),
    "role, other name": Remedy(
        "a message must have a role in 'who'",
        {"rows": [chat(USER, ANSWER)], **section(fields={"role": "who"}), **CHAT},
        section(fields={"role": "role"}),
    ),
    "consecutive": set_to(
        "`conversation_config: {consecutive: merge}`", chat(USER, ANSWER, ANSWER), section(consecutive="merge")
    ),
    "system": set_to("`conversation_config: {system: drop}`", chat(USER, SYSTEM, ANSWER), section(system="drop")),
    "system, joined": fixed(
        "join them into one message",
        chat(SYSTEM, SYSTEM, USER, ANSWER),
        chat({**SYSTEM, "content": "be be"}, USER, ANSWER),
    ),
    "system, column": fixed("keep one of them", chat(SYSTEM, USER, ANSWER, system="other"), chat(SYSTEM, USER, ANSWER)),
    "tool result": fixed("add the call", chat(USER, RESULT, ANSWER), chat(USER, CALL, RESULT, ANSWER), template=TOOLS),
    "call of a user": fixed("fix its role", chat({**CALL, "role": "user"}, ANSWER), chat(USER, CALL), template=TOOLS),
    "call, json": fixed("fix the JSON", chat(USER, {**CALL, "tool_calls": ["f(1)"]}), chat(USER, CALL), template=TOOLS),
    "call": fixed(
        'write it as {"name": ..., "arguments": {...}}',
        chat(USER, {**CALL, "tool_calls": [{"call": "f"}]}),
        chat(USER, CALL),
        template=TOOLS,
    ),
    "arguments": fixed(
        "write them as a mapping of names to values",
        chat(USER, {**CALL, "tool_calls": [{"name": "f", "arguments": [1]}]}),
        chat(USER, CALL),
        template=TOOLS,
    ),
    "tool": fixed(
        'write it as {"type": "function", "function": {"name": ..., "description": ..., "parameters": {...}}}',
        chat(USER, ANSWER, tools=[{"f": TOOL}]),
        chat(USER, ANSWER, tools=[{"type": "function", "function": TOOL}]),
    ),
    "document": fixed(
        'write it as {"text": ...}', chat(USER, ANSWER, documents=[1]), chat(USER, ANSWER, documents=[{"text": "a"}])
    ),
    "variable": fixed(
        "leave it out of template_kwargs",
        chat(USER, ANSWER, template_kwargs={"bos_token": "a"}),
        chat(USER, ANSWER, template_kwargs={}),
    ),
    "variable, column": fixed(
        "give it a column of its own",
        chat(USER, ANSWER, template_kwargs={"tools": [TOOL]}),
        chat(USER, ANSWER, tools=[TOOL]),
    ),
    "variable, known": fixed(
        'did you mean "enable_thinking"?',
        chat(USER, ANSWER, template_kwargs={"enable_thinkin": False}),
        chat(USER, ANSWER, template_kwargs={"enable_thinking": False}),
    ),
    "no answer": fixed("leave the row out, or check the roles", chat(USER), chat(USER, ANSWER)),
    "empty answer": fixed("leave the turn or the row out", chat(USER, {**ANSWER, "content": ""}), chat(USER, ANSWER)),
    "weight": fixed("write 0 or 1", chat(USER, {**ANSWER, "weight": 0.5}), chat(USER, {**ANSWER, "weight": 1})),
    "none trained": fixed("leave the row out", chat(USER, {**ANSWER, "weight": 0}), chat(USER, ANSWER)),
    "flags": fixed(
        "give both the same flag",
        chat(USER, {**ANSWER, "weight": 0}, {**ANSWER, "weight": 1}),
        chat(USER, {**ANSWER, "weight": 1}, {**ANSWER, "weight": 1}),
        **section(consecutive="merge"),
    ),
    "two reasonings": fixed(
        "remove one of them",
        chat(USER, {**THOUGHT, "content": [{"type": "thinking", "thinking": "other"}, "two"]}),
        chat(USER, {**ANSWER, "content": [{"type": "thinking", "thinking": "other"}, "two"]}),
        template=FORGETS_REASONING,
    ),
    "content": fixed("write it as text", chat(USER, {**ANSWER, "content": 2}), chat(USER, {**ANSWER, "content": "2"})),
    "message": fixed("write it with a role and a content", chat("one", ANSWER), chat(USER, ANSWER)),
    "part": fixed(
        "leave out the rows with images",
        chat({**USER, "content": [{"type": "image"}]}, ANSWER),
        chat({**USER, "content": [{"type": "text", "text": "one"}]}, ANSWER),
    ),
    "json": fixed("fix the JSON", chat(USER, ANSWER, tools="[{"), chat(USER, ANSWER, tools="[]")),
    "surrogate": fixed(
        "fix the row or leave it out, or skip", chat(USER, {**ANSWER, "content": "\ud800"}), chat(USER, ANSWER)
    ),
    "prefill, turns": setting(
        "`loss_config: {turns: last}`",
        start({**ANSWER, "content": "t"}, completion=[ANSWER, USER, ANSWER]),
        {"loss_config": {"turns": "last"}},
        good=start(),
        **CHAT,
    ),
    "prefill, left out": of_completion(
        "leave out the assistant turn at the end of the prompt",
        start({**ANSWER, "content": "t"}, completion=[ANSWER, USER, ANSWER]),
        start(completion=[ANSWER, USER, ANSWER]),
    ),
    "prefill, reasoning": of_completion(
        "leave out the assistant turn at the end of the prompt",
        start({**ANSWER, "content": "t"}, completion=[THOUGHT]),
        start(completion=[THOUGHT]),
    )._replace(is_of_row=False),
    "prefill, merged": of_completion(
        "leave the assistant turn at the end of the prompt without reasoning and tool calls",
        start(THOUGHT),
        start(ANSWER),
        **section(consecutive="merge"),
    ),
}

CHAT_TEMPLATE = {"prompt_format_config": {"method": "ChatTemplate"}}


def template(**kwargs: Any) -> dict[str, Any]:
    return {"prompt_format_config": {"method": "ChatTemplate", "kwargs": kwargs}}


def of_format(text: str, bad: dict[str, Any]) -> Remedy:
    """A conversation that the format ChatML cannot write."""
    return set_to(text, bad, CHAT_TEMPLATE, template=TOOLS, prompt_format_config={"method": "ChatMLFormat"})


def of_template(text: str, fails: dict[str, Any], works: dict[str, Any], template: str | None = CHATML) -> Remedy:
    return Remedy(text, {"rows": [chat(USER, ANSWER)], "template": template, **fails}, works)


REFUSES = r"{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}" + CHATML

TEMPLATES = {
    "format, tools": of_format("use a chat template (prompt_format_config: {method: ChatTemplate})", chat(USER, CALL)),
    "format, order": of_format(
        "use a chat template (prompt_format_config: {method: ChatTemplate})", chat(USER, USER, ANSWER)
    ),
    "no template, file": of_template(
        "{method: ChatTemplate, kwargs: {template: path/to/template.jinja}}",
        {"files": {"path/to/template.jinja": CHATML}},
        template(template="path/to/template.jinja"),
        None,
    ),
    "no template, format": of_template(
        "{method: ChatMLFormat}", {}, {"prompt_format_config": {"method": "ChatMLFormat"}}, None
    ),
    "named template, file": of_template(
        "set prompt_format_config.kwargs.template to a .jinja file",
        {"files": {"chat.jinja": CHATML}, **CHAT_TEMPLATE},
        template(template="chat.jinja"),
        None,
    ),
    "named template, format": of_template(
        "or choose a format such as ChatMLFormat",
        CHAT_TEMPLATE,
        {"prompt_format_config": {"method": "ChatMLFormat"}},
        None,
    ),
    "missing file": of_template("or null", template(template="chatt.jinja"), template(template=None)),
    "missing file, text": of_template(
        "give the text of a template", template(template="chatt"), template(template=CHATML)
    ),
    "stop tokens, known": of_template(
        'did you mean "<|im_end|>"?', template(stop_tokens=["<|imend|>"]), template(stop_tokens=["<|im_end|>"])
    ),
    "stop tokens": of_template(
        "name the tokens at which generation stops under stop_tokens",
        {},
        template(stop_tokens=["<|user|>", "<|observation|>"]),
        NO_STOP_TOKEN,
    ),
    "unrenderable, skip": set_to(
        "or skip such turns with on_unrenderable_turn: skip",
        chat({**USER, "content": "/odd"}, ANSWER),
        template(on_unrenderable_turn="skip"),
        template=NEVER_IN_FRONT,
    ),
    "refuses": fixed("fix the row", chat(SYSTEM, USER, ANSWER), chat(USER, ANSWER), template=REFUSES),
    "history": set_to(
        "set on_rewritten_history to split or last_round",
        chat(USER, THOUGHT, NEXT, THOUGHT),
        template(on_rewritten_history="split"),
        template=FORGETS_REASONING,
        **template(on_rewritten_history="error"),
    ),
    "history, last round": set_to(
        "set on_rewritten_history to split or last_round",
        chat(USER, THOUGHT, NEXT, THOUGHT),
        template(on_rewritten_history="last_round"),
        template=FORGETS_REASONING,
        **template(on_rewritten_history="error"),
    ),
    "history, switch": set_to(
        "set template_kwargs: {preserve_thinking: true}",
        chat(USER, THOUGHT, NEXT, THOUGHT),
        template(on_rewritten_history="error", template_kwargs={"preserve_thinking": True}),
        template=WITH_A_SWITCH,
        **template(on_rewritten_history="error"),
    ),
    "reserved, column": of_template(
        "give the rows a column tools",
        template(template_kwargs={"tools": [TOOL]}),
        {"rows": [chat(USER, ANSWER, tools=[TOOL])], **CHAT_TEMPLATE},
    ),
    "reserved": of_template(
        "remove it from template_kwargs", template(template_kwargs={"add_generation_prompt": True}), template()
    ),
    "date": of_template("put it in quotes", template(date=20260101.5), template(date="2026-01-01")),
    "turns": of_template(
        "write prompt_format_config: {method: ChatTemplate}",
        {"truncation_config": {"method": "turns"}, "prompt_format_config": {"method": "ChatMLFormat"}},
        CHAT_TEMPLATE,
    ),
    "turns, method": of_template(
        "or truncation_config: {method: last_turns}",
        {"truncation_config": {"method": "turns"}, "prompt_format_config": {"method": "ChatMLFormat"}},
        {"truncation_config": {"method": "last_turns"}},
    ),
    "cut": of_template(
        "write turns to remove the oldest turns",
        {"truncation_config": {"method": "input"}},
        {"truncation_config": {"method": "turns"}},
    ),
}


@parametrized(ROWS)
def test_a_conversation_is_written_or_read_as_its_message_says(remedy: Remedy) -> None:
    follow(remedy)


@parametrized(TEMPLATES)
def test_a_template_is_used_as_the_message_says(remedy: Remedy) -> None:
    follow(remedy)
