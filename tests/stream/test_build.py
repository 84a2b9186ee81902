"""From a config to the parts of a stream, and what is said on the way."""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from samsum_stream import ConfigError, PromptFormat, SFTStream, TokenizerError, TrustError, VicunaFormat
from samsum_stream.batching.collation import Packed, Padded, PaddingFree
from samsum_stream.batching.packing import BestFit, FirstFit, Greedy, NoPacking
from tests.streams import make_config, make_rows, make_stream, rows_of_packs, word_tokenizer

ANSWER = {"method": "Prompt", "kwargs": {"response_template": "Answer: {text}"}}
OWN = """\
from samsum_stream import Prompt, PromptFormat, Role


def prompt(first, format):
    return Prompt(response_template=first + " {text}", format=format)


def style(mark):
    return PromptFormat(input=Role(prefix=mark + " "))


def number(format):
    return 5
"""


@pytest.fixture
def own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)


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
def test_a_collator_is_built_with_its_own_kwargs(section: dict[str, Any], kind: type) -> None:
    collator = make_stream(collator_config=section, ignore_index=-7).collator
    assert type(collator) is kind
    assert (collator.pad_token_id, collator.ignore_index, collator.max_length) == (0, -7, 32)
    if isinstance(collator, Padded):
        assert (collator.pad_to_multiple_of, collator.padding_side) == (8, "left")


@pytest.mark.parametrize(
    ("attention", "emitted"), [("auto", "position_ids"), ("block_mask", "block_mask"), ("varlen", "varlen")]
)
def test_a_packed_batch_has_the_attention_of_the_config(
    attention: str, emitted: str, caplog: pytest.LogCaptureFixture
) -> None:
    stream = make_stream(collator_config={"kwargs": {"attention": attention}})
    assert stream.collator.attention == emitted
    assert "full attention" not in caplog.text


def test_full_attention_warns_once_that_documents_see_each_other(caplog: pytest.LogCaptureFixture) -> None:
    stream = make_stream(collator_config={"kwargs": {"attention": "full"}})
    assert len(list(stream.loader())) > 1
    [record] = [record for record in caplog.records if "full attention" in record.message]
    assert "collator_config.kwargs.attention" in record.message
    assert "each document of a pack sees those before it" in record.message


def test_the_format_follows_from_the_base_model_where_none_is_named() -> None:
    def style(**changes: Any) -> Any:
        return type(make_stream(prompt_config=ANSWER, **changes).pipeline.tokenizer.sides.renderer.prompt.format)

    assert style(base_model="lmsys/vicuna-7b-v1.5") is VicunaFormat
    assert style(base_model="gpt2") is style() is PromptFormat
    assert style(base_model="gpt2", prompt_format_config={"method": "VicunaFormat"}) is VicunaFormat


@pytest.mark.usefixtures("own_parts")
def test_prompts_and_formats_of_the_users_own_work_where_they_are_trusted() -> None:
    stream = make_stream(
        prompt_config={"method": "own_parts::prompt", "kwargs": {"first": "66"}},
        prompt_format_config={"method": "own_parts::style", "kwargs": {"mark": "77"}},
        trust=["own_parts"],
    )
    assert stream.inference_prompt({"input": "100"}).split() == ["77", "100", "66"]


@pytest.mark.usefixtures("own_parts")
def test_what_makes_no_prompt_is_an_error_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"prompt_config\.method: own_parts::number must make a .*Prompt; got int"):
        make_stream(prompt_config={"method": "own_parts::number"}, trust=["own_parts"])


@pytest.mark.usefixtures("own_parts")
def test_arguments_that_do_not_fit_are_told_with_their_place() -> None:
    with pytest.raises(ConfigError, match=r"prompt_format_config\.kwargs\.marc: .*did you mean \"mark\""):
        make_stream(prompt_format_config={"method": "own_parts::style", "kwargs": {"marc": "7"}}, trust=["own_parts"])
    with pytest.raises(ConfigError, match=r"prompt_config\.kwargs\.system_mesage: .*did you mean \"system_message\""):
        make_stream(prompt_config={"method": "Prompt", "kwargs": {"system_mesage": "x"}})


def test_a_config_without_a_source_says_what_to_do() -> None:
    with pytest.raises(
        ConfigError, match=r"source_config\.method: .*missing; known: jsonl, .*SFTStream\(\.\.\., rows="
    ):
        SFTStream.from_config(make_config(), tokenizer=word_tokenizer())


def test_a_config_without_a_model_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"base_model: .*is missing; give a Hub id or a folder, or pass .*tokenizer="):
        SFTStream.from_config(make_config(), rows=make_rows(3))


def test_a_tokenizer_must_be_a_fast_one() -> None:
    with pytest.raises(TokenizerError, match="must be a fast one of transformers.*got str"):
        SFTStream.from_config(make_config(), rows=make_rows(3), tokenizer="gpt2")  # type: ignore[arg-type]


def test_the_trusted_name_of_a_source_is_not_the_trusted_name_of_a_prompt() -> None:
    with pytest.raises(TrustError, match=r"prompt_config\.method: \"json::loads\" would import code"):
        make_stream(prompt_config={"method": "json::loads"}, trust=["own_parts"])


# ------------------------------------------------------------------------------------------------------ notices


def notices(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("samsum_stream")]


def test_a_config_with_nothing_to_say_is_built_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        list(make_stream(prompt_config=ANSWER))
    assert notices(caplog) == []


def test_a_prompt_that_separates_nothing_from_the_response_is_told(caplog: pytest.LogCaptureFixture) -> None:
    make_stream()
    [notice] = notices(caplog)
    assert "nothing separates the input from the response" in notice
    assert "response_template" in notice


def test_a_format_that_spells_what_is_no_special_token_is_told(caplog: pytest.LogCaptureFixture) -> None:
    make_stream(prompt_format_config={"method": "ChatMLFormat"})
    [notice] = notices(caplog)
    assert "ChatMLFormat spells '<|im_start|>', which are no special tokens of this tokenizer" in notice


def test_where_a_tokenizer_has_no_pad_token_its_eos_pads_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = word_tokenizer()
    tokenizer.pad_token = None
    config = make_config(prompt_config=ANSWER)
    stream = SFTStream.from_config(config, rows=make_rows(4), tokenizer=tokenizer)
    assert not notices(caplog)
    [batch] = stream.loader()
    assert stream.collator.pad_token_id == tokenizer.eos_token_id
    assert int((batch["labels"] == tokenizer.eos_token_id).sum()) == 4
    assert int((batch["input_ids"] == tokenizer.eos_token_id).sum()) > 4


def test_named_arguments_of_a_jsonl_source_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"source_config\.kwargs\.pth: jsonl takes no such argument.*\"path\""):
        make_stream(source_config={"method": "jsonl", "kwargs": {"pth": "x"}})


def test_rows_are_named_after_their_source() -> None:
    stream = make_stream(make_rows(3), shuffle=False)
    assert rows_of_packs(stream) == [0, 1, 2]
    assert str(stream.pipeline.source.position(0, 1, 0)) == "rows:1 (epoch 0)"
