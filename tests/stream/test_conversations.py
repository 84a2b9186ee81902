"""Conversations through the public interface: what a config can ask for, and what it cannot."""

from typing import Any

import pytest
from tokenizers import AddedToken

from samsum_stream import ConfigError, RowError, SFTStream, SourceError
from tests.contracts.conversations import small_tokenizer
from tests.prompts.chat.templates import CHATML, FORGETS_REASONING

ROLES = ("user", "assistant") * 2
_USER_FIRST = "{% if not messages or messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}"

ROW = {
    "messages": [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "<think>hm</think>two"},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "four"},
    ]
}


def stream_of(rows: list[dict[str, Any]], *, template: str | None = CHATML, **config: Any) -> SFTStream:
    """One example for each pack, in order."""
    tokenizer = small_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]})
    tokenizer.chat_template = template
    order = {"packing_config": {"method": "none"}, "shuffle": False, "lanes": 1}
    return SFTStream.from_config({**order, **config}, rows=rows, tokenizer=tokenizer)


def trained(stream: SFTStream) -> list[list[str]]:
    """The trained texts of each example."""
    return [
        [stream.tokenizer.decode(example.input_ids[start:end]) for start, end in example.spans.tolist()]
        for pack in stream
        for example in pack.examples
    ]


def test_reasoning_in_the_content_is_trained_unless_the_config_says_otherwise() -> None:
    assert trained(stream_of([ROW])) == [["<think>\nhm\n</think>\n\ntwo<|im_end|>", "four<|im_end|>"]]
    stream = stream_of([ROW], loss_config={"reasoning": False})
    assert trained(stream) == [["two<|im_end|>", "four<|im_end|>"]]


def test_reasoning_in_a_field_is_trained_unless_the_config_says_otherwise() -> None:
    assert trained(stream_of([ROW], template=FORGETS_REASONING))[0] == ["<think>hm</think>two<|im_end|>"]
    stream = stream_of([ROW], template=FORGETS_REASONING, loss_config={"reasoning": False})
    assert trained(stream)[0] == ["two<|im_end|>"]


@pytest.mark.parametrize("format", ["ChatMLFormat", "ChatTemplate"])
def test_reasoning_can_be_dropped_with_every_format(format: str) -> None:
    config = {"prompt_format_config": {"method": format}, "conversation_config": {"reasoning": "drop"}}
    [texts] = trained(stream_of([ROW], **config))
    assert [text.split("<|im_end|>")[0].strip() for text in texts] == ["two", "four"]


@pytest.mark.parametrize("method", ["contexts", "input"])
def test_conversations_have_no_contexts_and_no_input_to_cut(method: str) -> None:
    with pytest.raises(ConfigError, match=f"conversations have no {method} that could be cut.*write turns"):
        stream_of([ROW], truncation_config={"method": method})
    with pytest.raises(ConfigError, match=f"conversations have no {method} that could be cut"):
        stream_of(
            [{"input": "a", "response": "b"}],
            truncation_config={"method": method},
            prompt_format_config={"method": "ChatTemplate"},
        )


def test_the_oldest_turns_can_be_removed_with_a_chat_template_only() -> None:
    with pytest.raises(ConfigError, match="turns needs a chat template"):
        stream_of([ROW], truncation_config={"method": "turns"}, prompt_format_config={"method": "ChatMLFormat"})


def test_conversations_without_a_template_and_a_format_are_an_error() -> None:
    with pytest.raises(ConfigError, match="conversations need a format, and the tokenizer has no chat template"):
        stream_of([ROW], template=None)


def test_a_prompt_and_a_completion_of_text_have_no_system_message() -> None:
    columns = {"prompt": "prompt", "completion": "completion", "system": "system"}
    with pytest.raises(SourceError, match="columns names system, which only conversations have"):
        stream_of([{"prompt": "a", "completion": "b", "system": "c"}], source_config={"columns": columns})


def test_the_columns_of_alpaca_are_named_with_the_instruction() -> None:
    with pytest.raises(SourceError, match="columns: {input: instruction, contexts: input, response: output}"):
        stream_of([{"instruction": "a", "input": "b", "output": "c"}])


def test_a_row_that_the_template_refuses_is_a_bad_row() -> None:
    template = _USER_FIRST + CHATML
    rows = [ROW, {"messages": [{"role": "assistant", "content": "Hi"}]}]
    with pytest.raises(RowError, match=r"rows:1 .*refuses the messages \(user first\); fix the row"):
        list(stream_of(rows, template=template))
    stream = stream_of(rows, template=template, fault_config={"on_bad_row": "skip", "max_bad_rows": 5})
    assert len(list(stream)) == 1
    assert stream.stats.skipped == {"template_refuses": 1}


def test_a_turn_that_does_not_continue_its_prompt_is_a_bad_row_with_the_value_of_thinking_that_helps() -> None:
    pair = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    prefills = CHATML.replace("assistant\\n' }}", "assistant\\n' ~ ('' if enable_thinking else '<think></think>') }}")
    with pytest.raises(
        RowError, match=r'its prompt ends with "<think></think>"\); write thinking: true under prompt_fo'
    ):
        trained(stream_of([pair], template=prefills))
    settings = {"method": "ChatTemplate", "kwargs": {"thinking": True}}
    assert trained(stream_of([pair], template=prefills, prompt_format_config=settings)) == [["Hello<|im_end|>"]]
    always = CHATML.replace("assistant\\n' }}", "assistant\\n<think>' }}")
    with pytest.raises(RowError, match=r'its prompt ends with "<think>"\); set template_kwargs'):
        trained(stream_of([pair], template=always))


def test_a_turn_whose_text_differs_from_its_prompt_at_the_start() -> None:
    """The message shows where the texts differ, and does not say that the prompt ends there."""
    pair = {"messages": [{"role": "user", "content": "Hi " * 99}, {"role": "assistant", "content": "Hello"}]}
    depends = "{{ 'One.' if add_generation_prompt else 'Two.' }}" + CHATML
    with pytest.raises(RowError, match=r"\(with the turn, the template writes another text where its prompt has \"One"):
        trained(stream_of([pair], template=depends))


def ids_of(rows: list[dict[str, Any]], *, template: str, frames: bool, strips: bool = False) -> list[list[int]]:
    """The ids of all examples, with a special token that includes the white space before it if `strips`."""
    tokenizer = small_tokenizer()
    tokens = ["<|im_start|>", "<|im_end|>"]
    tokenizer.add_tokens([AddedToken(token, special=True, lstrip=strips) for token in tokens], special_tokens=True)
    tokenizer.chat_template = template
    config = {
        "prompt_format_config": {"method": "ChatTemplate", "kwargs": {"frames": frames}},
        "packing_config": {"method": "none"},
        "shuffle": False,
        "lanes": 1,
    }
    stream = SFTStream.from_config(config, rows=rows, tokenizer=tokenizer)
    return [example.input_ids.tolist() for pack in stream for example in pack.examples]


def test_a_frame_is_compared_also_if_the_first_conversation_cannot_fill_it() -> None:
    """The answer of the first row starts with a newline, so a token crosses its border; long answers get a star."""
    template = CHATML.replace("~ m.content ~", "~ m.content ~ ('*' if m.content | length > 9 else '') ~")
    rows = [
        {"messages": [{"role": role, "content": text} for role, text in zip(ROLES, texts, strict=True)]}
        for texts in (["a", "\nb", "c", "d"], ["e", "f", "g", "h"])
    ]
    assert ids_of(rows, template=template, frames=True) == ids_of(rows, template=template, frames=False)


def test_texts_are_not_cut_before_a_token_that_includes_white_space() -> None:
    rows = [{"messages": [{**message, "content": f"{message['content']} "} for message in ROW["messages"]]}] * 2
    with_frames, without = (
        ids_of(rows, template=FORGETS_REASONING, frames=frames, strips=True) for frames in (True, False)
    )
    assert with_frames == without
