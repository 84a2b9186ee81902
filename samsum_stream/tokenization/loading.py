"""Loads a transformers tokenizer, and checks that streams can use it."""

from collections.abc import Mapping
from glob import escape, glob
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from samsum_stream.errors import TokenizerError, TrustError
from samsum_stream.errors.redaction import redact, secrets_in
from samsum_stream.errors.wording import closest

OF_MODEL = ("revision", "cache_dir", "local_files_only", "proxies", "token")
"""The arguments of a tokenizer that are also those of its model, which can be in another subfolder."""


def load_tokenizer(base_model: str, **kwargs: Any) -> PreTrainedTokenizerBase:
    """Load the tokenizer of `base_model`, a Hub id or a folder. Python code of the folder or of the Hub never runs.

    Args:
        base_model: The Hub id or the folder.
        kwargs: Other arguments of `AutoTokenizer.from_pretrained`, such as `revision`.

    Raises:
        TokenizerError: no tokenizer can be loaded.
        TrustError: the tokenizer needs Python code of its folder.
    """
    location = str(_existing_folder(base_model)) if _looks_like_folder(base_model) else base_model
    # With mistral-common installed, a folder with a tekken.json would load a tokenizer that is not a fast one.
    kwargs = {**kwargs, "trust_remote_code": False, "mistral_format": False}
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(location, **kwargs)
    except Exception as error:  # tokenizers raises plain exceptions, and a request its own
        if "trust_remote_code" in str(error):
            raise _needs_code(base_model) from None  # the text of transformers asks for an argument that we do not pass
        raise _cannot_load(base_model, error, kwargs) from None  # a header of the request can be in the error
    return tokenizer


def _cannot_load(base_model: str, error: Exception, kwargs: Mapping[str, Any]) -> TokenizerError:
    reason = redact(str(error).strip().split("\n")[0], secrets=secrets_in(kwargs))
    named = [f"{name} {kwargs[name]!r}" for name in ("revision", "subfolder", "gguf_file") if name in kwargs]
    return TokenizerError(
        f"base_model: no tokenizer could be loaded for {', '.join([repr(base_model), *named])} ({reason}); "
        "give a folder that holds tokenizer.json, or the id of a model on the Hub that you may read"
    )


def _needs_code(base_model: str) -> TrustError:
    return TrustError(
        f"base_model: the tokenizer of {base_model!r} is Python code of its own (`auto_map` in tokenizer_config.json), "
        "which a config cannot run; give a folder whose tokenizer.json is all that it needs, without `auto_map`, or "
        "read the code, load the tokenizer by AutoTokenizer.from_pretrained(..., trust_remote_code=True), and pass "
        "SFTStream(..., tokenizer=tokenizer)"
    )


def require_fast(tokenizer: Any) -> PreTrainedTokenizerBase:
    """`tokenizer` itself, if streams can use it.

    Raises:
        TokenizerError: it is not a fast tokenizer of transformers, or has no eos token in its vocabulary.
    """
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise TokenizerError(
            f"the tokenizer must be a fast one of transformers, with a backend_tokenizer; got "
            f"{type(tokenizer).__name__}; load it with AutoTokenizer.from_pretrained"
        )
    if tokenizer.eos_token_id is None:
        raise TokenizerError(
            "the tokenizer has no eos token, and a response needs one at its end; "
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
    """The id of padding: pad, else eos, else unk. Any id can be used, because labels do not depend on the id."""
    if tokenizer.pad_token_id is not None:
        return int(tokenizer.pad_token_id)
    return int(tokenizer.unk_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id)


def _existing_folder(base_model: str) -> Path:
    """The folder `base_model`; raises `TokenizerError` if it does not exist."""
    folder = Path(base_model).expanduser()
    if not folder.is_dir():
        near = closest(folder.name, [Path(path).name for path in glob(f"{escape(str(folder.parent))}/*/")])
        guess = f'did you mean "{folder.parent / near}"? ' if near else ""
        raise TokenizerError(
            f"base_model: there is no folder {base_model!r} (seen from {Path.cwd()}); {guess}give a folder that "
            "holds tokenizer.json, or the id of a model on the Hub"
        )
    return folder


def _looks_like_folder(base_model: str) -> bool:
    """Whether `base_model` is a folder. `org/name` and `name` can also be a Hub id; then a folder that exists wins."""
    path = Path(base_model).expanduser()
    return path.exists() or base_model.startswith((".", "/", "~")) or base_model.count("/") > 1


def generation_stop_ids(base_model: str, **kwargs: Any) -> list[int]:
    """The ids at which the generation of a model stops (`eos_token_id` of its generation config); empty if unknown.

    Args:
        base_model: The Hub id or the folder; empty for a tokenizer that was made, and not loaded.
        kwargs: The arguments with which its tokenizer was loaded.
    """
    if not base_model:
        return []
    of_model = {name: kwargs[name] for name in OF_MODEL if name in kwargs}
    try:
        ids = GenerationConfig.from_pretrained(base_model, **of_model).eos_token_id
    except (OSError, ValueError):
        return []
    return [ids] if isinstance(ids, int) else [*(ids or ())]
