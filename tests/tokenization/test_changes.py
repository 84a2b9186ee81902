"""A tokenizer that changes after its stream was made is an error at the next batch."""

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from samsum_stream import ConfigError, SFTStream
from tests.streams import make_config, make_rows, word_tokenizer

Change = Callable[[PreTrainedTokenizerFast], Any]
TEMPLATE = "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"
CONVERSATIONS = [{"messages": [{"role": "user", "content": "11"}, {"role": "assistant", "content": "12"}]}] * 20

CHANGES: dict[str, Change] = {
    "got 1 token": lambda tokenizer: tokenizer.add_tokens(["<new>"]),
    r"got 1 token after the stream was made \(12\)": lambda tokenizer: tokenizer.add_tokens(["12"]),
    "extra special tokens": lambda tokenizer: tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_end|>"]}),
    r"eos token of the tokenizer changed from '</s>' to '<\|im_end\|>'": lambda tokenizer: setattr(
        tokenizer, "eos_token", "<|im_end|>"
    ),
    "id of padding of the tokenizer changed from 0 to 3": lambda tokenizer: setattr(tokenizer, "pad_token", "<unk>"),
    "normalizer": lambda tokenizer: setattr(tokenizer.backend_tokenizer, "normalizer", normalizers.Lowercase()),
    "pre_tokenizer": lambda tokenizer: setattr(
        tokenizer.backend_tokenizer, "pre_tokenizer", pre_tokenizers.WhitespaceSplit()
    ),
    "post_processor": lambda tokenizer: setattr(
        tokenizer.backend_tokenizer, "post_processor", processors.TemplateProcessing(single="$A", special_tokens=[])
    ),
}


def make(tokenizer: PreTrainedTokenizerFast, rows: Any = None, **changes: Any) -> SFTStream:
    return SFTStream.from_config(make_config(**changes), rows=rows or make_rows(60), tokenizer=tokenizer)


@pytest.mark.parametrize("message", CHANGES)
def test_a_change_is_an_error_at_the_next_batch(message: str) -> None:
    tokenizer = word_tokenizer()
    stream = make(tokenizer)
    packs, batches, later = iter(stream), iter(stream.loader()), stream.loader()
    next(batches)
    for _ in range(stream.pipeline.batch_size):
        next(packs)
    CHANGES[message](tokenizer)
    for read in (lambda: next(packs), lambda: next(batches), lambda: next(iter(later)), stream.loader):
        with pytest.raises(ConfigError, match=message):
            read()


def test_a_batch_that_fails_is_not_delivered() -> None:
    tokenizer = word_tokenizer()
    loader = make(tokenizer).loader()
    batches = iter(loader)
    next(batches)
    tokenizer.eos_token = "<|im_end|>"
    with pytest.raises(ConfigError):
        next(batches)
    assert loader.batch == 1


def test_a_chat_template_that_writes_rows_must_not_change() -> None:
    for template, is_error in ((None, True), (TEMPLATE, False)):
        tokenizer = word_tokenizer()
        tokenizer.chat_template = TEMPLATE
        kwargs = {} if template is None else {"template": template}
        style = {"method": "ChatTemplate", "kwargs": kwargs}
        stream = make(tokenizer, CONVERSATIONS, prompt_format_config=style)
        tokenizer.chat_template = "{{ messages[0]['content'] }}"
        if is_error:
            with pytest.raises(ConfigError, match="the chat template of the tokenizer changed after"):
                list(stream)
        else:
            assert list(stream)


def test_settings_that_no_row_depends_on_may_change() -> None:
    tokenizer = word_tokenizer()
    tokenizer.pad_token = None
    stream = make(tokenizer)
    batches = iter(stream.loader())
    next(batches)
    tokenizer.padding_side, tokenizer.truncation_side, tokenizer.model_max_length = "left", "left", 7
    tokenizer.chat_template = TEMPLATE
    tokenizer.pad_token = tokenizer.eos_token  # the padding of the stream already
    tokenizer(["11 12", "13"], padding=True, truncation=True, max_length=2)
    assert len(list(batches)) > 1
