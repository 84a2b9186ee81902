"""A text after an added token: Llama-2 and Mistral encode it as at the start of a text."""

from collections.abc import Sequence
from typing import Any

import pytest
from tokenizers import AddedToken

from samsum_stream import SFTStream
from samsum_stream.errors import TokenizerError
from tests.real_data import load_tokenizer, needs_real_data

QUESTION = r"'\nUser: ' ~ m.content ~ '\nAssistant:\n'"
KEEPS = f"{{% for m in messages %}}{{{{ {QUESTION} if m.role == 'user' else m.content ~ eos_token }}}}{{% endfor %}}"
REWRITES = KEEPS.replace("m.content ~ eos_token", "(m.content if loop.last else '...') ~ eos_token")
TEXTS = (
    "Hi there",
    "Hello",
    "How are you?",
    "Fine, thanks.",
    "Good.",
    "Bye!",
    "</s> or <s>",
    " A  space",
    "\nA line",
    "é",
)


def conversation(*texts: str) -> dict[str, Any]:
    roles = ("user", "assistant") * len(texts)
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]}


ROWS = [conversation(*TEXTS[:4]), conversation(*TEXTS[2:8]), conversation(*TEXTS[4:]), conversation(*reversed(TEXTS))]


def examples_of(
    name: str, template: str, *, tokens: Sequence[str | AddedToken] = (), **kwargs: Any
) -> list[tuple[list[int], list[list[int]]]]:
    tokenizer = load_tokenizer(name)
    tokenizer.add_tokens([*tokens])
    tokenizer.chat_template = template
    config = {
        "shuffle": False,
        "lanes": 1,
        "packing_config": {"method": "none"},
        "prompt_format_config": {"method": "ChatTemplate", "kwargs": kwargs},
    }
    stream = SFTStream.from_config(config, rows=ROWS, tokenizer=tokenizer)
    return [(example.input_ids.tolist(), example.spans.tolist()) for pack in stream for example in pack.examples]


@needs_real_data
@pytest.mark.parametrize("name", ["llama-2", "mistral-v3"])
def test_a_conversation_needs_one_example(name: str) -> None:
    """All ids are those that `apply_chat_template` gives."""
    tokenizer = load_tokenizer(name)
    tokenizer.chat_template = KEEPS
    expected = [
        tokenizer.apply_chat_template(row["messages"], return_dict=False, sanitize_control_tokens=True) for row in ROWS
    ]
    assert [ids for ids, _ in examples_of(name, KEEPS)] == expected


@needs_real_data
@pytest.mark.parametrize("name", ["llama-2", "mistral-v3"])
@pytest.mark.parametrize("template", [KEEPS, REWRITES])
def test_frames_and_the_template_give_the_same_ids(name: str, template: str) -> None:
    assert examples_of(name, template) == examples_of(name, template, frames=False)


@needs_real_data
def test_a_row_of_a_format_that_spells_a_token_after_a_turn() -> None:
    """The text around the token is encoded as in a row that spells none."""
    tokenizer = load_tokenizer("llama-2")
    rows = [conversation("Hi", "Ho", "So", "Yes"), conversation("Hi", "Ho", "So</s>", "Yes")]
    config = {
        "shuffle": False,
        "lanes": 1,
        "packing_config": {"method": "none"},
        "prompt_format_config": {"method": "UserAssistantFormat"},
    }
    stream = SFTStream.from_config(config, rows=rows, tokenizer=tokenizer)
    plain, spelled = ([*example.input_ids.tolist()] for pack in stream for example in pack.examples)
    start = plain.index(tokenizer.eos_token_id) + 2
    assert spelled[:start] == plain[:start]
    assert spelled.count(tokenizer.eos_token_id) == 2


@needs_real_data
def test_a_stop_token_that_includes_the_white_space_after_it() -> None:
    end = AddedToken("<|end|>", special=True, normalized=False, rstrip=True)
    template = KEEPS.replace("eos_token", "'<|end|>'").replace("\\nUser", "User")
    assert len(examples_of("llama-2", template, tokens=[end], stop_tokens=["<|end|>"])) == len(ROWS)


@needs_real_data
@pytest.mark.parametrize("name", ["llama-2", "mistral-v3"])
@pytest.mark.parametrize("token", ["<|end|>", AddedToken("<|end|>", normalized=False, single_word=True)])
def test_a_token_that_the_tokenizer_does_not_read(name: str, token: str | AddedToken) -> None:
    """Without the rule, the ids of the template's text would be others than those that inference gives."""
    template = KEEPS.replace("eos_token", "'<|end|>'")
    with pytest.raises(TokenizerError, match=r"does not read its token '<\|end\|>' .*normalized=False"):
        examples_of(name, template, tokens=[token], stop_tokens=["<|end|>"])
    assert examples_of(name, template, tokens=[AddedToken("<|end|>", normalized=False)], stop_tokens=["<|end|>"])
