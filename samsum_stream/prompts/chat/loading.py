"""A chat template and what is known about it when it is loaded: how turns end, and in which form it takes messages."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2.nodes

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import did_you_mean
from samsum_stream.prompts.chat.chat_template import AUTO, ChatTemplate
from samsum_stream.prompts.chat.forms import Forms, find_forms
from samsum_stream.prompts.chat.stops import find_stops
from samsum_stream.prompts.chat.template import CompiledTemplate
from samsum_stream.prompts.chat.turns import TurnFinder


@dataclass(frozen=True)
class TokenizerTexts:
    """What a chat template needs to know about a tokenizer.

    Attributes:
        templates: The chat templates of the tokenizer by name; its default template is named `default`.
        special_tokens: The special tokens by their names in templates, such as `bos_token`.
        special: The texts of all special tokens.
        added: The texts of all added tokens, the special ones included.
        barriers: The special tokens that include no white space before them: a text can be cut before such a token.
        eos: The text of the eos.
        stop_tokens: The texts of the tokens at which the model's generation stops.
        folder: The folder of the tokenizer, if it is local.
    """

    templates: Mapping[str, str]
    special_tokens: Mapping[str, str]
    special: Collection[str]
    added: Collection[str]
    eos: str
    stop_tokens: Collection[str] = ()
    folder: Path | None = None
    barriers: Collection[str] = ()

    def control_tokens(self, source: str) -> tuple[str, ...]:
        """The added tokens that are not special and that a template writes, such as `<think>`."""
        text = _literals(source)
        return tuple(token for token in self.added if token in text and token.strip() and token not in self.special)


@dataclass(frozen=True)
class LoadedTemplate:
    """A chat template, ready to render conversations.

    Attributes:
        settings: The settings of the config.
        finder: Finds the prompt and the target of each turn.
        forms: The form in which the template takes messages.
        special: The special tokens that a row must not write.
        written: The other added tokens that the template writes.
        barriers: The special tokens before which a text can be cut.
    """

    settings: ChatTemplate
    finder: TurnFinder
    forms: Forms
    special: Collection[str]
    written: Collection[str]
    barriers: Collection[str]

    @property
    def identity(self) -> str:
        """A text that differs if the template writes other texts, or other turns are trained."""
        settings = self.settings
        forms = f"{self.forms.arguments} {self.forms.empty_content} {self.forms.reasoning}"
        rules = f"{settings.on_rewritten_history} {settings.on_unrenderable_turn} {forms}"
        text = f"{self.template.source}\0{sorted(settings.variables.items())}\0{self.finder.stops}\0{rules}"
        return f"{hashlib.sha256(text.encode()).hexdigest()[:12]} {settings.fixed_date:%Y-%m-%d}"

    @property
    def template(self) -> CompiledTemplate:
        """The template."""
        return self.finder.template


def load_template(
    settings: ChatTemplate, texts: TokenizerTexts, *, reasoning: Literal["auto", "field", "inline", "drop"] = "auto"
) -> LoadedTemplate:
    """Load the template of the settings, and find how it writes turns.

    Raises:
        ConfigError: there is no template, or it cannot write conversations.
    """
    source = template_source(settings.template, texts)
    template = CompiledTemplate(
        source, special_tokens=texts.special_tokens, kwargs=settings.variables, date=settings.fixed_date
    )
    stop_tokens = texts.stop_tokens if settings.stop_tokens is None else _known(settings.stop_tokens, texts.added)
    stops = find_stops(template, added_tokens=texts.added, eos=texts.eos, stop_tokens=stop_tokens)
    finder = TurnFinder(template, stops, chooses_thinking=settings.thinking == AUTO)
    forms = find_forms(finder, reasoning=reasoning)
    return LoadedTemplate(settings, finder, forms, texts.special, texts.control_tokens(source), texts.barriers)


def template_source(template: str | None, texts: TokenizerTexts) -> str:
    """The text of a template that is given as text, as a file or as a name; the tokenizer's own template for None.

    Raises:
        ConfigError: there is no such template.
    """
    if template is None:
        if "default" in texts.templates:
            return texts.templates["default"]
        names = f"; it has templates named {', '.join(texts.templates)}: set template to one" if texts.templates else ""
        raise ConfigError(
            f"the tokenizer has no chat template{names}; take the tokenizer of the chat model of this family, set "
            "prompt_format_config.kwargs.template to a .jinja file, or choose a format such as ChatMLFormat"
        )
    if template in texts.templates:
        return texts.templates[template]
    if "{%" in template or "{{" in template:
        return template
    return _read(template, texts)


def _read(name: str, texts: TokenizerTexts) -> str:
    folders = [Path(), *([texts.folder, texts.folder / "additional_chat_templates"] if texts.folder else [])]
    for folder in folders:
        for path in (folder / Path(name).expanduser(), folder / f"{name}.jinja"):
            if path.is_file():
                return path.read_text(encoding="utf-8")
    known = f"; {did_you_mean(name, [*texts.templates])}" if texts.templates else ""
    raise ConfigError(
        f"ChatTemplate.template: {name!r} is no template of the tokenizer, and no file{known}; give the text of a "
        "template, the path of a .jinja file (seen from the working directory or the tokenizer's folder), or null"
    )


def _known(stop_tokens: Collection[str], added: Collection[str]) -> Collection[str]:
    for token in stop_tokens:
        if token not in added:
            raise ConfigError(
                f"ChatTemplate.stop_tokens: {token!r} is no added token of the tokenizer, so generation cannot stop at "
                f"it; {did_you_mean(str(token), [*added])}"
            )
    return stop_tokens


def _literals(source: str) -> str:
    """The texts that a template contains, apart from its expressions; joined with a character that is in no token."""
    tree = CompiledTemplate(source, special_tokens={}).tree
    constants: list[Any] = [node.value for node in tree.find_all(jinja2.nodes.Const)]
    literals = [node.data for node in tree.find_all(jinja2.nodes.TemplateData)]
    return "\0".join([*literals, *(value for value in constants if isinstance(value, str))])
