"""From a config to the parts of a stream, with their errors and warnings."""

import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from samsum_stream import ConfigError, PromptFormat, SFTStream, TokenizerError, TrustError, VicunaFormat
from samsum_stream.batching.collation import Packed, Padded, PaddingFree
from samsum_stream.batching.packing import BestFit, FirstFit, Greedy, NoPacking
from samsum_stream.values.rows import Instructions
from tests.streams import make_config, make_rows, make_stream, rows_of_packs, word_tokenizer

ANSWER = {"method": "Prompt", "kwargs": {"response_template": "Answer: {text}"}}
USER_MODULE = """\
from samsum_stream import Prompt, PromptFormat, Role


def prompt(first, format):
    return Prompt(response_template=first + " {text}", format=format)


def style(mark):
    return PromptFormat(input=Role(prefix=mark + " "))


def number(format):
    return 5
"""


@pytest.fixture
def user_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "user_parts.py").write_text(USER_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "user_parts", raising=False)


@pytest.mark.parametrize(
    ("method", "kind"), [("best_fit", BestFit), ("first_fit", FirstFit), ("greedy", Greedy), ("none", NoPacking)]
)
def test_a_packing_method_is_built_with_its_sizes(method: str, kind: type) -> None:
    packer = make_stream(method=method, max_length=77, buffer_size=5).pipeline.packer
    assert type(packer) is kind
    assert (packer.max_length, packer.buffer_size) == (77, 5)


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ({"method": "packed", "kwargs": {"attention": "position_ids"}}, Packed),
        ({"method": "padded", "kwargs": {"pad_to_multiple_of": 8, "padding_side": "left"}}, Padded),
        ({"method": "padding_free"}, PaddingFree),
    ],
)
def test_a_collator_is_built_with_its_kwargs(section: dict[str, Any], kind: type) -> None:
    collator = make_stream(collator_config=section, ignore_index=-7).collator
    assert type(collator) is kind
    assert (collator.pad_token_id, collator.ignore_index, collator.max_length) == (0, -7, 32)
    if isinstance(collator, Padded):
        assert (collator.pad_to_multiple_of, collator.padding_side) == (8, "left")


@pytest.mark.parametrize(
    ("attention", "expected"), [("auto", "position_ids"), ("block_mask", "block_mask"), ("varlen", "varlen")]
)
def test_a_packed_batch_has_the_attention_of_the_config(
    attention: str, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    stream = make_stream(collator_config={"kwargs": {"attention": attention}})
    assert stream.collator.attention == expected
    assert "full attention" not in caplog.text


def test_full_attention_warns_once_that_documents_see_each_other(caplog: pytest.LogCaptureFixture) -> None:
    stream = make_stream(collator_config={"kwargs": {"attention": "full"}})
    assert len(list(stream.loader())) > 1
    [record] = [record for record in caplog.records if "full attention" in record.message]
    assert "collator_config.kwargs.attention" in record.message
    assert "each document of a pack attends to the documents before it" in record.message


def test_the_base_model_determines_the_format_by_default() -> None:
    def style(**changes: Any) -> Any:
        renderer: Any = make_stream(prompt_config=ANSWER, **changes).pipeline.encoder.renderer
        return type(renderer.renderers[Instructions].prompt.format)

    assert style(base_model="lmsys/vicuna-7b-v1.5") is VicunaFormat
    assert style(base_model="gpt2") is style() is PromptFormat
    assert style(base_model="gpt2", prompt_format_config={"method": "VicunaFormat"}) is VicunaFormat


@pytest.mark.usefixtures("user_parts")
def test_trusted_prompts_and_formats_of_the_user_work() -> None:
    stream = make_stream(
        prompt_config={"method": "user_parts::prompt", "kwargs": {"first": "66"}},
        prompt_format_config={"method": "user_parts::style", "kwargs": {"mark": "77"}},
        trust=["user_parts"],
    )
    assert stream.inference_prompt({"input": "100"}).split() == ["77", "100", "66"]


@pytest.mark.usefixtures("user_parts")
def test_a_method_that_returns_no_prompt_is_an_error_with_its_location() -> None:
    with pytest.raises(ConfigError, match=r"prompt_config\.method: user_parts::number must make a .*Prompt; got int"):
        make_stream(prompt_config={"method": "user_parts::number"}, trust=["user_parts"])


@pytest.mark.usefixtures("user_parts")
def test_wrong_arguments_are_an_error_with_their_location() -> None:
    with pytest.raises(ConfigError, match=r"prompt_format_config\.kwargs\.marc: .*did you mean \"mark\""):
        make_stream(prompt_format_config={"method": "user_parts::style", "kwargs": {"marc": "7"}}, trust=["user_parts"])
    with pytest.raises(ConfigError, match=r"prompt_config\.kwargs\.system_mesage: .*did you mean \"system_message\""):
        make_stream(prompt_config={"method": "Prompt", "kwargs": {"system_mesage": "x"}})


def test_the_error_of_a_config_without_a_source_has_a_remedy() -> None:
    with pytest.raises(
        ConfigError, match=r"source_config\.method: .*missing; known: csv, json, jsonl, .*SFTStream\(\.\.\., rows="
    ):
        SFTStream.from_config(make_config(), tokenizer=word_tokenizer())


def test_the_error_of_a_config_without_a_model_has_a_remedy() -> None:
    with pytest.raises(ConfigError, match=r"base_model: .*is missing; give a Hub id or a folder, or pass .*tokenizer="):
        SFTStream.from_config(make_config(), rows=make_rows(3))


def test_a_tokenizer_must_be_fast() -> None:
    with pytest.raises(TokenizerError, match="must be a fast one of transformers.*got str"):
        SFTStream.from_config(make_config(), rows=make_rows(3), tokenizer="gpt2")  # type: ignore[arg-type]


def test_prompts_need_trust() -> None:
    with pytest.raises(TrustError, match=r"prompt_config\.method: \"json::loads\" would import code"):
        make_stream(prompt_config={"method": "json::loads"}, trust=["user_parts"])


# ----------------------------------------------------------------------------------------------------- warnings


def messages_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("samsum_stream")]


def test_a_config_without_problems_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        list(make_stream(prompt_config=ANSWER))
    assert messages_of(caplog) == []


def test_a_prompt_without_a_border_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    make_stream()
    [message] = messages_of(caplog)
    assert "nothing separates the input from the response" in message
    assert "response_template" in message


def test_a_format_with_unknown_special_tokens_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    make_stream(prompt_format_config={"method": "ChatMLFormat"})
    [message] = messages_of(caplog)
    assert "ChatMLFormat spells '<|im_start|>', which are no special tokens of this tokenizer" in message


def test_the_eos_of_a_tokenizer_without_a_pad_token_pads_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = word_tokenizer()
    tokenizer.pad_token = None
    config = make_config(prompt_config=ANSWER)
    stream = SFTStream.from_config(config, rows=make_rows(4), tokenizer=tokenizer)
    assert not messages_of(caplog)
    [batch] = stream.loader()
    assert stream.collator.pad_token_id == tokenizer.eos_token_id
    assert int((batch["labels"] == tokenizer.eos_token_id).sum()) == 4
    assert int((batch["input_ids"] == tokenizer.eos_token_id).sum()) > 4


def test_arguments_of_a_jsonl_source_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"source_config\.kwargs\.pth: jsonl takes no such argument.*\"path\""):
        make_stream(source_config={"method": "jsonl", "kwargs": {"pth": "x"}})


def test_rows_are_named_after_their_source() -> None:
    stream = make_stream(make_rows(3), shuffle=False)
    assert rows_of_packs(stream) == [0, 1, 2]
    assert str(stream.pipeline.source.position(0, 1, 0)) == "rows:1 (epoch 0)"


MESSAGES = [{"role": "user", "content": "11"}, {"role": "assistant", "content": "12"}]
CHAT = (
    "{% for m in messages %}{{ m.role }} {{ m.content }}{% if m.role == 'assistant' %} <|im_end|>{% endif %} "
    "{% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
)
PROMPT = {"kwargs": {"system_message": "Be brief.", "input_template": "Q: {text}"}}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "11 12", "completion": "13"}, "a prompt and its completion .*columns: {input: prompt, response"),
        ({"text": "11 12 13"}, "the rows are texts; remove this key$"),
        ({"input_ids": [11, 12, 13]}, "the rows are ids; remove this key$"),
        ({"messages": MESSAGES}, "conversations with a chat template; .*ChatMLFormat"),
    ],
)
def test_a_prompt_that_no_row_has_is_a_warning(
    row: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    format_of = {"prompt_format_config": {"method": "ChatTemplate", "kwargs": {"template": CHAT}}}
    config = format_of if "messages" in row else {}
    make_stream([row] * 8, **config)
    assert not caplog.records
    make_stream([row] * 8, prompt_config=PROMPT, **config)
    [record] = caplog.records
    message = record.getMessage()
    assert message.startswith("config: prompt_config.kwargs: no row is written with this prompt: ")
    assert re.search(words, message)


def test_a_prompt_of_other_rows_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    row = {"prompt": "11 12", "completion": "13"}
    source = {"columns": {"input": "prompt", "response": "completion"}}
    make_stream([row] * 8, prompt_config={"kwargs": {"response_template": "A: {text}"}}, source_config=source)
    chat = {"method": "ChatMLFormat"}
    for rows in ([row] * 8, [{"messages": MESSAGES}] * 8):
        make_stream(rows, prompt_config=PROMPT, prompt_format_config=chat)
    assert "no row is written" not in caplog.text
