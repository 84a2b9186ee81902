"""`samsum-stream check` on conversations: each advice fires on its own config, and none on good conversations."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast

from samsum_stream.config import parse_config
from samsum_stream.inspection.check import Facts, Finding, advise, gather
from samsum_stream.inspection.check.outline import numbers, outline
from samsum_stream.inspection.report.left_out import outcomes_of
from samsum_stream.inspection.report.page import make_page
from samsum_stream.inspection.survey.shown import survey_for_machines
from samsum_stream.inspection.survey.survey import survey
from samsum_stream.stream.stream import SFTStream
from tests.prompts.chat.templates import (
    CHATML,
    FORGETS_REASONING,
    HEADER,
    PREFILLS_THINKING,
    control_tokens,
)
from tests.streams import make_config, write_lines

Row = Mapping[str, Any]
Check = Callable[..., Facts]

IM_END, END = "<|im_end|>", "</s>"

WITH_A_SWITCH = (
    r"{% set ns = namespace(last=0) %}"
    r"{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    r"{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' }}"
    r"{% if m.reasoning_content and (preserve_thinking or loop.index0 > ns.last) %}"
    r"{{ '<think>' ~ m.reasoning_content ~ '</think>' }}"
    r"{% endif %}"
    r"{{ m.content ~ '<|im_end|>\n' }}{% endfor %}" + HEADER
)
TWO_BOS = "<s><s>" + CHATML
BOS_OF_EACH_MESSAGE = CHATML.replace("'<|im_start|>'", "'<s><|im_start|>'")
LOOKS_FOR_A_TEXT = CHATML.replace(
    "m.content ~ '<|im_end|>\\n'", "m.content ~ ('!' if '/loud' in m.content else '') ~ '<|im_end|>\\n'"
)
WRITES_TOOLS = r"{% if tools %}{{ tools | tojson }}{% endif %}" + CHATML.replace(
    "m.content ~", "m.content ~ (m.tool_calls | tojson if m.tool_calls else '') ~"
)
LOSES_SYSTEM = CHATML.replace("for m in messages", "for m in messages if m.role != 'system'")
NEVER_IN_FRONT = (
    r"{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' }}"
    r"{% if m.role == 'assistant' and '/odd' in messages[0].content %}{{ '<x>' }}{% endif %}"
    r"{{ m.content ~ '<|im_end|>\n' }}{% endfor %}"
    r"{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    r"{% if '/odd' in messages[0].content %}{{ '<y>' }}{% endif %}{% endif %}"
)
"""The prompt is not continued for a conversation whose first message has `/odd`."""


SWALLOWS = "<|say|>"
STARTS_ANSWERS = CHATML.replace("m.content", f"('{SWALLOWS}' if m.role == 'assistant' else '') ~ m.content")
"""An answer starts with a token that includes the newline at the end of its prompt."""


def tokenizer_with(template: str | None) -> PreTrainedTokenizerFast:
    """Tokens of single characters, and the control tokens of the template; the eos ends no turn."""
    characters = {chr(number): 3 + number for number in range(128)}
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, END: 2, **characters}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    special = [token for token in control_tokens(template or "") if token.startswith("<|")]
    tokens = [AddedToken(text, normalized=False, lstrip=text == SWALLOWS) for text in ("<s>", END, *special)]
    backend.add_special_tokens(tokens)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token=END, pad_token="<unk>", unk_token="<unk>"
    )
    tokenizer.chat_template = template
    return tokenizer


def chat(*contents: str, system: str = "", **of_answers: str) -> Row:
    """A conversation of a user and an assistant in turn."""
    messages: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
    for number, content in enumerate(contents):
        is_answer = number % 2 == 1
        messages.append({"role": "assistant" if is_answer else "user", "content": content})
        messages[-1] |= of_answers if is_answer else {}
    return {"messages": messages}


def chats(count: int = 40, **changes: str) -> list[Row]:
    """Conversations of one to three rounds."""
    rounds = ("Hi", "Hello", "Why", "Because", "Bye", "See you")
    return [chat(*rounds[: 2 * (number % 3 + 1)], **changes) for number in range(count)]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """The facts of a config whose model stops at `<|im_end|>`."""

    def gathered(
        rows: Sequence[Row],
        template: str | None = CHATML,
        *,
        eos: str = END,
        stops: Sequence[str] = (IM_END,),
        **changes: Any,
    ) -> Facts:
        (tmp_path / "rows").mkdir(exist_ok=True)
        path = write_lines(tmp_path / "rows" / "rows.jsonl", [dict(row) for row in rows])
        tokenizer = tokenizer_with(template)
        tokenizer.eos_token = eos
        tokenizer.save_pretrained(tmp_path / "tokenizer")
        (tmp_path / "tokenizer" / "generation_config.json").unlink(missing_ok=True)
        if stops:
            ids = [tokenizer.convert_tokens_to_ids(stop) for stop in stops]
            GenerationConfig(eos_token_id=ids).save_pretrained(tmp_path / "tokenizer")
        settings = {
            "source_config": {"method": "jsonl", "kwargs": {"path": str(path)}},
            "base_model": str(tmp_path / "tokenizer"),
            "max_length": 512,
        }
        config = make_config(**settings | changes)
        (tmp_path / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
        return gather(parse_config(config))

    return gathered


def settings(**kwargs: Any) -> dict[str, Any]:
    return {"prompt_format_config": {"method": "ChatTemplate", "kwargs": kwargs}}


def names(facts: Facts) -> list[str]:
    return [finding.name for finding in advise(facts)]


def finding_of(facts: Facts, name: str) -> Finding:
    [finding] = [finding for finding in advise(facts) if finding.name == name]
    assert finding.reason
    assert finding.remedy
    return finding


# ------------------------------------------------------------------------------------------------------ outline


def test_good_conversations_have_no_finding(check: Check) -> None:
    assert names(check(chats())) == []
    assert names(check(chats(system="Be kind."))) == []


def test_the_outline_says_how_the_template_takes_messages_and_how_many_examples_a_row_needs(check: Check) -> None:
    lines = dict(outline(check(chats())))
    assert "prompt" not in lines
    assert lines["format"].startswith("ChatTemplate (of the tokenizer), no tool calls, reasoning in the content")
    assert "1 example and " in lines["format"]
    facts = check(chats(), FORGETS_REASONING)
    assert "reasoning in reasoning_content; 2 examples and" in dict(outline(facts))["format"]
    assert numbers(facts)["examples_per_row"] == pytest.approx(2.0, abs=0.1)


def test_the_outline_of_conversations_in_a_format_names_the_format(check: Check) -> None:
    lines = dict(outline(check(chats(), None, prompt_format_config={"method": "PromptFormat"})))
    assert lines["prompt"].startswith("Prompt in PromptFormat; 1 example and ")


def test_the_outline_of_completions(check: Check) -> None:
    facts = check([{"prompt": "Hi", "completion": " you"}] * 20, None)
    assert dict(outline(facts))["prompt"] == "prompt and completion, without a format"
    assert names(facts) == []


# ------------------------------------------------------------------------------------------------------- format


PROMPT = {"prompt_config": {"method": "Prompt", "kwargs": {"response_template": "Answer: {text}"}}}


@pytest.mark.parametrize(
    ("rows", "changes", "written"),
    [
        ([{"input": "Hi", "response": "Hello"}] * 20, PROMPT, "Question\\nAnswer: Answer"),
        ([{"prompt": "Hi", "completion": " Hello"}] * 20, {}, "without a format"),
        (chats(), {"prompt_format_config": {"method": "UserAssistantFormat"}}, "User: Question"),
    ],
    ids=["instructions", "completions", "conversations"],
)
def test_a_chat_model_that_is_trained_in_another_format(
    check: Check, rows: Sequence[Row], changes: dict[str, Any], written: str
) -> None:
    finding = finding_of(check(rows, **changes), "other_format")
    assert finding.level == "warning"
    assert written in finding.reason
    assert "ChatTemplate" in finding.remedy


@pytest.mark.parametrize("rows", [[{"input": "Hi", "response": "Hello"}] * 20, chats()], ids=["input", "messages"])
def test_a_format_that_writes_what_the_template_writes_is_no_other_format(check: Check, rows: Sequence[Row]) -> None:
    facts = check(rows, eos=IM_END, prompt_format_config={"method": "ChatMLFormat"})
    assert "other_format" not in names(facts)


def test_rows_of_input_and_response_in_the_chat_template_have_no_finding(check: Check) -> None:
    facts = check([{"input": "Hi", "response": "Hello"}] * 20, **settings())
    assert names(facts) == []
    assert "1 example and" in dict(outline(facts))["format"]


def test_a_template_of_the_config_that_is_not_that_of_the_tokenizer(check: Check) -> None:
    assert finding_of(check(chats(), **settings(template=CHATML + "{# #}")), "other_template").level == "note"
    assert names(check(chats(), **settings(template=CHATML))) == []


# -------------------------------------------------------------------------------------------------------- turns


def test_turns_that_end_where_generation_does_not_stop(check: Check) -> None:
    finding = finding_of(check(chats(), stops=[END]), "missing_stop")
    assert finding.level == "warning"
    assert f"trained turns end with {IM_END}" in finding.reason
    assert "generation_config.eos_token_id is [2]" in finding.reason
    assert "no known generation_config" in finding_of(check(chats(), stops=[]), "missing_stop").reason
    assert names(check(chats(), eos=IM_END, stops=[END])) == []


def test_a_template_that_rewrites_history_says_what_it_costs(check: Check) -> None:
    finding = finding_of(check(chats(39), FORGETS_REASONING), "rewritten_history")
    assert finding.level == "warning"
    assert "rewrites earlier turns in 67% of the rows" in finding.reason
    assert "rows.jsonl:1 part 1" in finding.reason
    assert "2.0 examples" in finding.reason
    assert "times the tokens of the conversations" in finding.reason
    assert "last_round" in finding.remedy
    assert "template_kwargs" not in finding.remedy


def test_the_switch_of_a_template_that_keeps_history(check: Check) -> None:
    rows = chats(reasoning_content="Hm")
    finding = finding_of(check(rows, WITH_A_SWITCH), "rewritten_history")
    assert "template_kwargs: {preserve_thinking: true}" in finding.remedy
    assert names(check(rows, WITH_A_SWITCH, **settings(template_kwargs={"preserve_thinking": True}))) == []
    assert names(check(rows, WITH_A_SWITCH, **settings(on_rewritten_history="last_round"))) == []


def test_borders_that_a_token_would_cross(check: Check) -> None:
    finding = finding_of(check(chats(39), STARTS_ANSWERS), "crossed_borders")
    assert finding.level == "warning"
    assert "the text beside it in 67% of the rows, such as" in finding.reason
    assert "rows.jsonl:1 part 1" in finding.reason
    assert "2.0 examples" in finding.reason
    assert "a newline or a control token" in finding.remedy
    assert names(check(chats(39), CHATML)) == []


def test_how_conversations_can_be_cut(check: Check) -> None:
    finding = finding_of(check([*chats(39), chat("Hi", "Hello" * 200)]), "long_rows")
    assert "truncation_config.method turns or last_turns (rounds are removed, so" in finding.remedy
    assert finding.remedy.endswith("or right")


@pytest.mark.parametrize(
    ("changes", "methods"), [(PROMPT, "input, contexts or right"), (settings(), "right")], ids=["prompt", "template"]
)
def test_how_rows_of_input_and_response_can_be_cut(check: Check, changes: dict[str, Any], methods: str) -> None:
    """A chat template writes the whole row, so that parts of the row cannot be cut."""
    rows = [*[{"input": "Hi", "response": "Hello"}] * 39, {"input": "Hi", "response": "Hello" * 200}]
    assert finding_of(check(rows, **changes), "long_rows").remedy.endswith(f"truncation_config.method {methods}")


def test_turns_that_need_enable_thinking(check: Check) -> None:
    finding = finding_of(check(chats(3), PREFILLS_THINKING), "thinking_switch")
    assert "6 turns with enable_thinking: false only" in finding.reason
    assert "thinking: false" in finding.remedy
    assert names(check(chats(), PREFILLS_THINKING, **settings(thinking=False))) == []
    assert names(check(chats(reasoning_content="Hm"), PREFILLS_THINKING)) == []


def test_turns_that_are_not_trained(check: Check) -> None:
    rows = [*chats(19), chat("/odd", "Hello", "Why", "Because")]
    finding = finding_of(check(rows, NEVER_IN_FRONT, **settings(on_unrenderable_turn="skip")), "untrained_turns")
    assert finding.level == "warning"
    assert "2 turns of 20 rows" in finding.reason
    assert "(2 prompt_is_no_prefix), such as in rows/rows.jsonl:19" in finding.reason


def test_rows_with_messages_after_the_last_turn(check: Check) -> None:
    finding = finding_of(check([*chats(19), chat("Hi", "Hello", "Thanks")]), "after_last_turn")
    assert finding.level == "note"
    assert "5.0% of the rows" in finding.reason


# ------------------------------------------------------------------------------------------------------ content


def test_a_template_that_writes_two_bos(check: Check) -> None:
    finding = finding_of(check(chats(), TWO_BOS), "two_bos")
    assert finding.level == "warning"
    assert "<s> several times (two at the start), such as in rows/rows.jsonl:0" in finding.reason
    assert finding_of(check(chats(), BOS_OF_EACH_MESSAGE), "two_bos").level == "note"
    assert names(check(chats(), "<s>" + CHATML)) == []


def test_a_bos_that_a_row_spells_is_no_bos(check: Check) -> None:
    assert names(check([*chats(19), chat("Hi <s> <s>", "Hello")], "<s>" + CHATML)) == ["special_tokens_in_rows"]


def test_texts_on_which_a_template_decides(check: Check) -> None:
    rows = [*chats(19), chat("Hi /loud", "Hello")]
    finding = finding_of(check(rows, LOOKS_FOR_A_TEXT), "texts_that_decide")
    assert finding.level == "warning"
    assert '5.0% of the rows, such as rows/rows.jsonl:19, have "/loud"' in finding.reason
    assert names(check(chats(), LOOKS_FOR_A_TEXT)) == []
    word = LOOKS_FOR_A_TEXT.replace("/loud", "loud")
    assert finding_of(check([*chats(19), chat("Hi loud", "Hello")], word), "texts_that_decide").level == "warning"
    cuts = LOOKS_FOR_A_TEXT.replace("m.content ~ (", "m.content[:99] ~ (")  # its decisions are not known
    assert finding_of(check(rows, cuts), "texts_that_decide").level == "warning"
    assert names(check([*chats(19), chat("Hi", "Hello /loud")], LOOKS_FOR_A_TEXT)) == [], "the model may write it"


def test_calls_of_tools_that_the_rows_do_not_have(check: Check) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": "me"}}}
    messages = [{"role": "user", "content": "Look"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    tool = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {}}}
    finding = finding_of(check([*chats(19), {"messages": messages}], WRITES_TOOLS), "calls_without_tools")
    assert finding.level == "warning"
    assert "5.0% of the rows, such as rows/rows.jsonl:19, call tools and have no tools" in finding.reason
    assert names(check([*chats(19), {"messages": messages, "tools": [tool]}], WRITES_TOOLS)) == []


def test_content_that_a_template_loses(check: Check) -> None:
    finding = finding_of(check([*chats(19), chat("Hi", "Hello", system="Be kind.")], LOSES_SYSTEM), "lost_content")
    assert (
        "does not write the system message, which 5.0% of the rows have, such as rows/rows.jsonl:19" in finding.reason
    )
    assert "conversation_config.system: drop" in finding.remedy
    assert names(check(chats(), LOSES_SYSTEM)) == []


def test_a_system_message_of_the_prompt_that_a_template_loses(check: Check) -> None:
    rows = [{"input": "Hi", "response": "Hello"}] * 20
    prompt = {"prompt_config": {"method": "Prompt", "kwargs": {"system_message": "Be kind."}}}
    finding = finding_of(check(rows, LOSES_SYSTEM, **settings(), **prompt), "lost_content")
    assert "system_message of prompt_config" in finding.reason
    assert names(check(rows, **settings(), **prompt)) == []


# -------------------------------------------------------------------------------------------- stats and report


def test_the_survey_counts_splits_and_untrained_turns(check: Check) -> None:
    rows = [*chats(18), chat("/odd", "Hello")]
    facts = check(rows, NEVER_IN_FRONT, **settings(on_unrenderable_turn="skip"))
    found = survey_for_machines(survey(facts.stream))
    assert (found["splits"], found["untrained_turns"]) == ({}, {"prompt_is_no_prefix": 1})
    found = survey_for_machines(survey(check(chats(18), FORGETS_REASONING).stream))
    assert (found["splits"], found["untrained_turns"]) == ({"history": 18}, {})


def test_the_report_lists_what_is_left_out_before_splits(check: Check, tmp_path: Path) -> None:
    rows = [*chats(18), chat("Hi", "Hello" * 200)]
    outcomes = outcomes_of(survey(check(rows, FORGETS_REASONING).stream))
    assert [outcome.name for outcome in outcomes] == ["longer_than_max_length", "history"]
    example = outcomes[-1].examples[0]
    assert example.position == "rows/rows.jsonl:1 part 1 (epoch 0)"
    assert example.text.start.endswith("<think></think>Because<|im_end|>")
    assert "because the chat template rewrites earlier turns" in make_page(tmp_path / "config.yaml")


def test_a_row_without_a_trained_turn_has_its_prompt_in_the_report(check: Check) -> None:
    facts = check([*chats(18), chat("/odd", "Hello")], NEVER_IN_FRONT, **settings(on_unrenderable_turn="skip"))
    dropped, untrained = outcomes_of(survey(facts.stream))
    assert (dropped.name, untrained.name) == ("no_trained_token", "prompt_is_no_prefix")
    assert untrained.effect == "with a turn that is not trained"
    assert "/odd" in untrained.examples[0].text.start


def test_a_row_that_the_template_cannot_write_has_its_place_in_the_report(check: Check) -> None:
    rows = [*chats(18), chat("/odd", "Hello")]
    faults = {"fault_config": {"on_bad_row": "skip", "max_bad_rows": 1}}
    [outcome] = outcomes_of(survey(check(rows, NEVER_IN_FRONT, **faults).stream))
    assert (outcome.name, outcome.examples[0].position) == ("prompt_is_no_prefix", "rows/rows.jsonl:18 (epoch 0)")


def test_the_preview_says_how_many_turns_an_example_has() -> None:
    config = {"shuffle": False, "tokenizer_config": {"backend": "hf"}}
    stream = SFTStream.from_config(
        config, rows=[chat("Hi", "Hello", "Why", "Because")], tokenizer=tokenizer_with(CHATML)
    )
    text = str(stream.preview(1))
    assert ") in 2 turns" in text
    assert ">>>Hello⟦<|im_end|>⟧<<<" in text
