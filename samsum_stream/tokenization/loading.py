"""A transformers tokenizer from a Hub id or a folder, ready to pad."""

from glob import escape, glob
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from samsum_stream.errors import TokenizerError
from samsum_stream.errors.wording import closest


def load_tokenizer(base_model: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of `base_model`, a Hub id or a folder.

    Raises:
        TokenizerError: there is none, or it has no fast form.
    """
    folder = Path(base_model).expanduser()
    if _looks_like_folder(base_model) and not folder.is_dir():
        near = closest(folder.name, [Path(each).name for each in glob(f"{escape(str(folder.parent))}/*/")])
        guess = f'did you mean "{folder.parent / near}"? ' if near else ""
        raise TokenizerError(
            f"base_model: there is no folder {base_model!r} (seen from {Path.cwd()}); {guess}give a folder that "
            "holds tokenizer.json, or the id of a model on the Hub"
        )
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder) if _looks_like_folder(base_model) else base_model
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().split("\n")[0]
        raise TokenizerError(
            f"base_model: no tokenizer could be loaded for {base_model!r} ({reason}); "
            "give a folder that holds tokenizer.json, or the id of a model on the Hub that you may read"
        ) from error
    return tokenizer


def require_fast(tokenizer: Any) -> PreTrainedTokenizerBase:
    """The tokenizer itself, where the `tokenizers` library backs it.

    Raises:
        TokenizerError: it is another object, or a tokenizer written in Python.
    """
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise TokenizerError(
            f"the tokenizer must be a fast one of transformers, with a backend_tokenizer; got "
            f"{type(tokenizer).__name__}; load it with AutoTokenizer.from_pretrained"
        )
    if tokenizer.eos_token_id is None:
        raise TokenizerError(
            "the tokenizer has no eos token, so no response could end; "
            "add one first, tokenizer.add_special_tokens({'eos_token': '</s>'}), and pass SFTStream(..., "
            "tokenizer=tokenizer)"
        )
    if tokenizer.convert_ids_to_tokens(tokenizer.eos_token_id) != tokenizer.eos_token:
        raise TokenizerError(
            f"the tokenizer's eos token {tokenizer.eos_token!r} is not in its vocabulary, so every response would end "
            "in another token; add it, tokenizer.add_special_tokens({'eos_token': ...}), and resize the model"
        )
    checked: PreTrainedTokenizerBase = tokenizer
    return checked


def pad_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that fills up a batch. Labels are masked by position, so eos or unk may stand in."""
    if tokenizer.pad_token_id is not None:
        return int(tokenizer.pad_token_id)
    return int(tokenizer.unk_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id)


def _looks_like_folder(base_model: str) -> bool:
    """Whether no Hub id can be meant: `org/name` and `name` can be either, and a folder wins."""
    path = Path(base_model).expanduser()
    return path.exists() or base_model.startswith((".", "/", "~")) or base_model.count("/") > 1
