"""Opens the source of a config."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from samsum_stream.config import MIXTURE, MixtureKwargs, SourceConfig, StreamConfig
from samsum_stream.config.registry import call, resolve
from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.errors.wording import did_you_mean
from samsum_stream.prompts import Prompt
from samsum_stream.sources import (
    SOURCES,
    ConversationRules,
    Mixture,
    Source,
    TemplateNames,
    as_source,
    default_name,
)
from samsum_stream.sources.faults import Faults
from samsum_stream.sources.mixture import Mix
from samsum_stream.stream.first_rows import first_rows_of
from samsum_stream.stream.holdout import training_rows
from samsum_stream.stream.selection import selected, selection_of
from samsum_stream.values.rows import Rows


class OpenedRows(NamedTuple):
    """The rows of a stream.

    Attributes:
        whole: The source with all rows, those that are held out included.
        source: The rows that the stream reads.
        first_rows: The first rows of each leaf of `whole`.
        are_held_out: Whether the stream reads the held-out rows.
    """

    whole: Source
    source: Source
    first_rows: list[Rows]
    are_held_out: bool = False


def open_rows(config: StreamConfig, prompt: Prompt, *, rows: object, trust: Sequence[str]) -> OpenedRows:
    """The rows that training reads.

    Args:
        config: The config.
        prompt: The prompt, whose templates name columns.
        rows: Rows that replace the source of the config; None uses the source of the config.
        trust: The modules that the config may import.

    Raises:
        SamsumStreamError: the source cannot be opened or split, or one of the first rows is bad.
    """
    whole = build_source(config, prompt, rows=rows, trust=trust)
    first_rows = first_rows_of(config, whole, faults_of(config))
    return OpenedRows(whole, training_rows(whole, config.holdout, where=config.where("holdout")), first_rows)


def faults_of(config: StreamConfig) -> Faults:
    """The policy for bad rows."""
    return Faults(config.fault_config.on_bad_row == "skip", config.fault_config.max_bad_rows)


def build_source(config: StreamConfig, prompt: Prompt, *, rows: object, trust: Sequence[str]) -> Source:
    """The source of `rows`; the source of the config if `rows` is None."""
    section, rules, templates = config.source_config, rules_of_conversations(config), names_in_templates(prompt)
    if rows is not None:
        where = functools.partial(config.where, "source_config")
        selection = selection_of(section, trust=trust, where=where)
        source = as_source(
            rows, name="rows", columns=section.columns, rules=rules, templates=templates, selection=selection
        )
        return selected(source, section, where=where)
    if section.method is None:
        raise ConfigError(
            f"{config.where('source_config', 'method')}: the kind of the source is missing; "
            f"{did_you_mean('', [*SOURCES, MIXTURE])}, path.to.module::name; or pass SFTStream(..., rows=rows)"
        )
    where = functools.partial(config.where, "source_config")
    opener = _Opener(trust, rules, templates)
    return opener.source(section.method, section, name=None, where=where)


def names_in_templates(prompt: Prompt) -> TemplateNames:
    """What the templates of a prompt read."""
    in_prompt = prompt.names_in_prompt
    return TemplateNames(in_prompt, tuple(name for name in prompt.names if name not in in_prompt), prompt.reads_input)


def rules_of_conversations(config: StreamConfig) -> ConversationRules:
    """How the conversations of a config's sources are read."""
    section = config.conversation_config
    return ConversationRules(
        fields=section.fields,
        roles=section.roles,
        consecutive=section.consecutive,
        system=section.system,
        turns=config.loss_config.turns,
        keeps_reasoning=section.reasoning != "drop",
    )


class _Opener(NamedTuple):
    """Opens the sources of a config.

    Attributes:
        trust: The modules that the config may import.
        rules: How conversations are read.
        templates: What the templates of the prompt read.
    """

    trust: Sequence[str]
    rules: ConversationRules
    templates: TemplateNames

    def source(self, method: str, section: SourceConfig, *, name: str | None, where: Callable[..., str]) -> Source:
        """The source of a section.

        Args:
            method: The name of the method.
            section: The section.
            name: The name of the source as a child of a mixture; None if it is not a child.
            where: Returns the location of a key of the section, for messages.
        """
        if method == MIXTURE:
            return self.mixture(MixtureKwargs.model_validate(section.kwargs), name=name or MIXTURE, where=where)
        selection = selection_of(section, trust=self.trust, where=where)
        known: dict[str, Any] = {**SOURCES, MIXTURE: None}
        factory = resolve(method, table=known, kind="source", trust=self.trust, where=where("method"))
        try:
            source = as_source(
                functools.partial(call, factory, section.kwargs, where=where("kwargs")),
                name=name or default_name(method, section.kwargs),
                columns=section.columns,
                rules=self.rules,
                templates=self.templates,
                selection=selection,
            )
        except SourceError as error:
            raise SourceError(f"{where()}: {error}") from error.__cause__
        return selected(source, section, where=where)

    def mixture(self, kwargs: MixtureKwargs, *, name: str, where: Callable[..., str]) -> Mixture:
        """A mixture with its children; the other arguments are those of `source`."""
        children = []
        for child, section in kwargs.sources.items():
            where_child = functools.partial(where, "kwargs", "sources", child)
            children.append((child, self.source(section.method, section, name=child, where=where_child)))
        weights = tuple(section.weight for section in kwargs.sources.values())
        return Mixture(children, name=name, mix=Mix(weights, kwargs.weight_by, kwargs.stopping_strategy))
