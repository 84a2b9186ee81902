"""A call of the tokenizer must give the ids of the stream."""

from typing import Any

import pytest
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from samsum_stream import SFTStream, TokenizerError
from samsum_stream.tokenization import HFBackend
from samsum_stream.tokenization.calls import require_same_calls
from tests.conftest import SMALL_TOKENIZER
from tests.real_data import FOLDER, TOKENIZERS, needs_real_data, sample_rows

ROWS = [{"input": "Who Won?", "response": "Bob <|eos|> did"}]


class Lowercased(PreTrainedTokenizerFast):
    """Changes texts in Python, before the backend."""

    def _encode_plus(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._encode_plus([each.lower() for each in text], *args, **kwargs)


class Rejoined(PreTrainedTokenizerFast):
    """Changes a text that only rows contain."""

    def _encode_plus(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._encode_plus([each.replace("Who", "What") for each in text], *args, **kwargs)


class Doubled(PreTrainedTokenizerFast):
    """Adds a token in Python, after the backend."""

    def _encode_plus(self, *args: Any, **kwargs: Any) -> Any:
        encoding = super()._encode_plus(*args, **kwargs)
        encoding["input_ids"] = [[self.bos_token_id, *ids] for ids in encoding["input_ids"]]
        return encoding


class Failing(PreTrainedTokenizerFast):
    """Needs more than a text."""

    def _encode_plus(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError("boxes are missing")


class Halved:
    """A part of a backend in Python."""

    def pre_tokenize(self, text: Any) -> None:
        text.split(lambda number, part: [part[:1], part[1:]])


def make_stream(tokenizer: Any) -> SFTStream:
    config = {"prompt_format_config": {"method": "VicunaFormat"}, "packing_config": {"method": "none"}}
    return SFTStream.from_config(config, rows=ROWS, tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Lowercased, r"for 'Yes': tokenizer\(text\) gives \[0, 91, 282\], and the stream encodes \[0, 59, 282\]"),
        (Rejoined, "for .*Who Won"),
        (Doubled, r"for 'Yes': tokenizer\(text\) gives \[0, 0, "),
        (Failing, "Failing cannot encode a text .boxes are missing"),
    ],
)
def test_a_class_that_changes_texts_is_an_error_and_its_remedy_works(kind: Any, message: str) -> None:
    tokenizer = kind.from_pretrained(SMALL_TOKENIZER)
    with pytest.raises(TokenizerError, match=message) as caught:
        make_stream(tokenizer)
    assert "PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token=" in str(caught.value)
    plain = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token=tokenizer.eos_token)
    assert list(make_stream(plain))


def test_a_backend_with_python_code_is_an_error() -> None:
    tokenizer = AutoTokenizer.from_pretrained(SMALL_TOKENIZER)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(Halved())
    with pytest.raises(TokenizerError, match="cannot be copied .*; use one whose parts are all of the tokenizers lib"):
        make_stream(tokenizer)


@pytest.mark.parametrize("splits", [False, True])
def test_the_small_tokenizer_passes(splits: bool) -> None:
    assert list(make_stream(AutoTokenizer.from_pretrained(SMALL_TOKENIZER, split_special_tokens=splits)))


def test_a_tokenizer_that_adds_an_eos_passes() -> None:
    assert list(make_stream(AutoTokenizer.from_pretrained(SMALL_TOKENIZER, add_bos_token=True, add_eos_token=True)))


@needs_real_data
@pytest.mark.parametrize("name", TOKENIZERS)
def test_real_tokenizers_pass(name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "tokenizers" / name)
    texts = [row["input"] for row in sample_rows()]
    require_same_calls(tokenizer, HFBackend(tokenizer.backend_tokenizer.to_str()), first_rows=texts)
