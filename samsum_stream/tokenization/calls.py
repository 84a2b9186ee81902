"""Whether a call of the tokenizer gives the ids of the stream, which encodes with its backend alone.

The Python class of a tokenizer can change texts before its backend encodes them, or add tokens after it. Training would
then see other ids than inference, where `tokenizer(prompt)` is called.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from samsum_stream.errors import TokenizerError
from samsum_stream.tokenization.backends import HFBackend
from samsum_stream.tokenization.proof import UNUSUAL_TEXTS

MAX_CHARACTERS = 300
"""The characters of a text that are compared: more than the length of the model would make transformers warn."""

MAX_ROWS = 32
"""The texts of rows that are compared."""

USUAL_TEXTS = ("Yes", " Yes", "Hello, world!", "two  spaces\n\nand lines\n", "UPPER and lower", "2024-01-31 is 100%")

REMEDY = (
    "stream and inference need the same ids: make a tokenizer of the backend alone, "
    "transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token=tokenizer.eos_token),"
    " pass it as SFTStream(..., tokenizer=...), and use it at inference"
)


def serialized_backend(tokenizer: PreTrainedTokenizerBase) -> str:
    """The backend of a tokenizer as JSON.

    Raises:
        TokenizerError: a part of the backend is Python code.
    """
    try:
        return str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:  # the exception of the tokenizers library has no class of its own
        raise TokenizerError(
            f"the tokenizer {type(tokenizer).__name__} cannot be copied ({error}); use one whose parts are all of the "
            "tokenizers library, so that it has a tokenizer.json"
        ) from error


def require_same_calls(tokenizer: PreTrainedTokenizerBase, reference: HFBackend, *, first_rows: Sequence[str]) -> None:
    """Raise `TokenizerError` if a call of the tokenizer gives other ids than the reference, for one of some texts.

    Args:
        tokenizer: The tokenizer.
        reference: The copy of its backend.
        first_rows: Texts of the data, which are compared together with the built-in ones.
    """
    texts = [text[:MAX_CHARACTERS] for text in (*USUAL_TEXTS, *UNUSUAL_TEXTS, *first_rows[:MAX_ROWS])]
    if tokenizer.split_special_tokens:  # its calls read no special tokens; special_tokens_in_rows decides it for us
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        texts = [text for text in texts if not any(token in text for token in special)]
    expected = [encoding.ids for encoding in reference.tokenizer.encode_batch(texts, add_special_tokens=True)]
    for text, ids, called in zip(texts, expected, _called(tokenizer, texts), strict=True):
        if ids != called:
            raise TokenizerError(
                f"{type(tokenizer).__name__} gives other ids than its backend for {text[:80]!r}: tokenizer(text) gives "
                f"{_shown(called)}, and the stream encodes {_shown(ids)}; {REMEDY}"
            )


def _called(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    try:
        return [[*ids] for ids in tokenizer(texts, verbose=False).input_ids]
    except Exception as error:
        raise TokenizerError(f"{type(tokenizer).__name__} cannot encode a text ({error}); {REMEDY}") from error


def _shown(ids: list[int]) -> str:
    return f"[{', '.join(map(str, ids[:16]))}{', ...' if len(ids) > 16 else ''}]"
