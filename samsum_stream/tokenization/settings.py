"""Settings of a config that change a loaded tokenizer: more tokens, another eos, padding, a chat template."""

from collections.abc import Callable, Iterable
from pathlib import Path

from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase

from samsum_stream.config.tokenizer import TokenizerConfig
from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import did_you_mean, quoted


def apply_settings(
    tokenizer: PreTrainedTokenizerBase, settings: TokenizerConfig, *, folder: Path, where: Callable[[str], str]
) -> None:
    """Change a tokenizer as the config says.

    Args:
        tokenizer: The tokenizer, which changes.
        settings: The settings.
        folder: The folder in which a chat template is looked up first.
        where: Returns the location of a key of the settings, for messages.

    Raises:
        ConfigError: eos or padding is a token that the tokenizer does not have, or there is no such chat template.
    """
    _add(tokenizer, settings.add_tokens, special=False)
    _add(tokenizer, settings.add_special_tokens, special=True)
    for name in ("eos_token", "pad_token"):
        if (content := getattr(settings, name)) is not None:
            _require_known(tokenizer, content, where=where(name))
            _add(tokenizer, [content], special=True)
            setattr(tokenizer, name, content)
    if settings.chat_template is not None:
        tokenizer.chat_template = _template(settings.chat_template, folder, where=where("chat_template"))


def require_no_settings(settings: TokenizerConfig, *, where: Callable[[str], str]) -> None:
    """Raise `ConfigError` if the settings would load or change a tokenizer that the caller passes."""
    for name in ("kwargs", "add_tokens", "add_special_tokens", "eos_token", "pad_token", "chat_template"):
        if getattr(settings, name) != type(settings).model_fields[name].get_default(call_default_factory=True):
            raise ConfigError(
                f"{where(name)}: is for the tokenizer of base_model, and tokenizer= is used as it is; change the "
                "tokenizer before you pass it, and remove this key, or do not pass tokenizer="
            )


def _add(tokenizer: PreTrainedTokenizerBase, contents: Iterable[str], *, special: bool) -> None:
    """Add tokens that are read everywhere in a text. A token that is known keeps its id, and can become special."""
    known = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
    new = [content for content in contents if content not in known or (special and not known[content].special)]
    tokens = [_token(content, known.get(content), special=special) for content in new]
    tokenizer.add_tokens(tokens, special_tokens=special)


def _token(content: str, known: AddedToken | None, *, special: bool) -> AddedToken:
    if known is None:  # a normalized token of Llama-2 would be read after a space only
        return AddedToken(content, normalized=False, special=special)
    strips = {"lstrip": known.lstrip, "rstrip": known.rstrip}
    return AddedToken(content, single_word=known.single_word, normalized=known.normalized, special=special, **strips)


def _require_known(tokenizer: PreTrainedTokenizerBase, content: str, *, where: str) -> None:
    if content not in tokenizer.get_vocab():
        known = [token.content for token in tokenizer.added_tokens_decoder.values()]
        raise ConfigError(
            f"{where}: the tokenizer has no token {quoted(content)}; write it into add_special_tokens, too, and resize "
            f"the model, or name another one; {did_you_mean(content, known)}"
        )


def _template(text: str, folder: Path, *, where: str) -> str:
    """The text of a chat template that is given as text, or as a file seen from `folder` or the working directory."""
    if "{%" in text or "{{" in text:
        return text
    for path in (folder / Path(text).expanduser(), Path(text).expanduser()):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise ConfigError(
        f"{where}: {quoted(text)} is no file, seen from {folder.absolute()} or {Path.cwd()}, and no template; give the "
        "path of a .jinja file, or the text of a template"
    )
