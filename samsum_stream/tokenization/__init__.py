"""Segments to examples: the border, bos and eos, special tokens in rows, truncation; the two backends."""

from samsum_stream.tokenization.backends import Backend, FastokensBackend, HFBackend
from samsum_stream.tokenization.border import Border, find_border
from samsum_stream.tokenization.loading import load_tokenizer, pad_token_id, require_fast
from samsum_stream.tokenization.proof import choose_backend
from samsum_stream.tokenization.row_tokenizer import RowTokenizer
from samsum_stream.tokenization.sides import SideEncoder
from samsum_stream.tokenization.special_tokens import SpecialTokens

__all__ = [
    "Backend",
    "Border",
    "FastokensBackend",
    "HFBackend",
    "RowTokenizer",
    "SideEncoder",
    "SpecialTokens",
    "choose_backend",
    "find_border",
    "load_tokenizer",
    "pad_token_id",
    "require_fast",
]
