"""Opens the source of a config, and checks its first rows."""

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from samsum_stream.config import MIXTURE, MixtureKwargs, SourceConfig, StreamConfig
from samsum_stream.config.registry import call, resolve
from samsum_stream.errors import ConfigError, RowError, SourceError
from samsum_stream.errors.wording import did_you_mean
from samsum_stream.loader.processes.progress import waiting
from samsum_stream.prompts import Prompt
from samsum_stream.sources import (
    SOURCES,
    Block,
    ConversationRules,
    Leaf,
    Mixture,
    Source,
    TemplateNames,
    as_source,
    default_name,
)
from samsum_stream.sources.faults import SKIP, Faults
from samsum_stream.sources.mixture import Mix
from samsum_stream.sources.rows.gather import FIX_OR_SKIP, FIX_THE_ROW
from samsum_stream.stream.fingerprint import source_identity
from samsum_stream.stream.holdout import training_rows
from samsum_stream.stream.selection import selected
from samsum_stream.values.rows import Rows

NUM_PROBED_ROWS = 64
"""The first rows of a source, which are read to check its columns and to compare the backends."""


class OpenedRows(NamedTuple):
    """The rows of a stream.

    Attributes:
        whole: The source with all rows, those that are held out included.
        source: The rows that the stream reads.
        first_rows: The first rows of each leaf of `whole`; none, but of the same kinds, when the parts are built.
        identity: The identity of `whole`.
        are_held_out: Whether the stream reads the held-out rows.
    """

    whole: Source
    source: Source
    first_rows: list[Rows]
    identity: str
    are_held_out: bool = False

    def without_rows(self) -> "OpenedRows":
        """The same without the first rows, which can be very long."""
        return self._replace(first_rows=[rows.picked(np.empty(0, np.int64)) for rows in self.first_rows])


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
    source = training_rows(whole, config.holdout, where=config.where("holdout"))
    return OpenedRows(whole, source, first_rows, source_identity(whole, first_rows))


def faults_of(config: StreamConfig) -> Faults:
    """The policy for bad rows."""
    return Faults(config.fault_config.on_bad_row == "skip", config.fault_config.max_bad_rows)


def build_source(config: StreamConfig, prompt: Prompt, *, rows: object, trust: Sequence[str]) -> Source:
    """The source of `rows`; the source of the config if `rows` is None."""
    section, rules, templates = config.source_config, rules_of_conversations(config), names_in_templates(prompt)
    if rows is not None:
        source = as_source(rows, name="rows", columns=section.columns, rules=rules, templates=templates)
        return selected(source, section, where=functools.partial(config.where, "source_config"))
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
        known: dict[str, Any] = {**SOURCES, MIXTURE: None}
        factory = resolve(method, table=known, kind="source", trust=self.trust, where=where("method"))
        try:
            source = as_source(
                functools.partial(call, factory, section.kwargs, where=where("kwargs")),
                name=name or default_name(method, section.kwargs),
                columns=section.columns,
                rules=self.rules,
                templates=self.templates,
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


def first_rows_of(config: StreamConfig, source: Source, faults: Faults) -> list[Rows]:
    """The first rows of each leaf of a source. If all rows of a leaf are bad, the config is wrong, and this raises."""
    with waiting(f"reading the first rows of {source.name}") if source.is_remote else nullcontext():
        return [_first_rows(config, leaf, faults) for leaf in source.leaves]


def _first_rows(config: StreamConfig, leaf: Leaf, faults: Faults) -> Rows:
    block = leaf.source.first_block(NUM_PROBED_ROWS)
    rows = SKIP.take(block.take, np.arange(block.num_rows))
    kinds = {(bad.field, bad.reason) for _, bad in rows.skipped}
    if not len(rows) and {reason for _, reason in kinds} == {"missing_field"}:
        raise _missing_column(config, leaf, block)
    if not rows.skipped or (len(rows) and faults.skips):
        return rows.of_shards_from(leaf.first_shard)
    is_of_column = len(kinds) == 1 and {reason for _, reason in kinds} == {"wrong_type"} and block.num_rows > 1
    if len(rows) or not (faults.skips or is_of_column):
        return block.take(np.arange(block.num_rows))  # raises the first error
    raise _bad_rows(block, is_of_column=is_of_column, skips=faults.skips)


def _bad_rows(block: Block, *, is_of_column: bool, skips: bool) -> RowError:
    """The error of rows that are all bad; of a column that has another type, without the remedies for a row."""
    note = f"all of the first {block.num_rows} rows"
    try:
        block.take(np.arange(1))
    except RowError as error:
        reason, _, remedy = str(error).rpartition("; ")
        remedy = remedy.removeprefix(FIX_OR_SKIP).removeprefix("or ") if is_of_column else remedy
        message = f"{reason} ({f'not skipped, because {note} are bad' if skips else f'in {note}'}); {remedy}"
        return RowError(message, position=error.position, field=error.field, reason=error.reason)
    raise AssertionError("the first row was bad before")


def _missing_column(config: StreamConfig, leaf: Leaf, block: Block) -> SourceError:
    """The error of a source whose first rows all lack a column: the config is wrong, not the rows."""
    path = [key for child in filter(None, leaf.name.split("/")) for key in ("kwargs", "sources", child)]
    number = "the only row" if block.num_rows == 1 else f"all of the first {block.num_rows} rows"
    try:
        block.take(np.arange(1))
    except RowError as error:
        reason, _, remedy = str(error).removesuffix(FIX_THE_ROW).rpartition("; ")
        return SourceError(f"{config.where('source_config', *path, 'columns')}: {reason} (in {number}); {remedy}")
    raise AssertionError("the first row was bad before")
