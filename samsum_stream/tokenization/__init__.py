"""Renderings to examples: token ids, borders, bos and eos, special tokens in rows, truncation."""

from samsum_stream.tokenization.backends import Backend, FastokensBackend, HFBackend
from samsum_stream.tokenization.border import Border, find_border
from samsum_stream.tokenization.example_tokenizer import ExampleTokenizer
from samsum_stream.tokenization.loading import load_tokenizer, pad_token_id, require_fast
from samsum_stream.tokenization.proof import choose_backend
from samsum_stream.tokenization.runs import RunEncoder
from samsum_stream.tokenization.special_tokens import SpecialTokens, with_control_tokens

__all__ = [
    "Backend",
    "Border",
    "ExampleTokenizer",
    "FastokensBackend",
    "HFBackend",
    "RunEncoder",
    "SpecialTokens",
    "choose_backend",
    "find_border",
    "load_tokenizer",
    "pad_token_id",
    "require_fast",
    "with_control_tokens",
]
