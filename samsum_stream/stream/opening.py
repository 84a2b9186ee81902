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
from samsum_stream.sources import (
    SOURCES,
    Block,
    Leaf,
    Mixture,
    Source,
    as_source,
    default_name,
)
from samsum_stream.sources.faults import SKIP, Faults
from samsum_stream.sources.mixture import Mix
from samsum_stream.sources.rows.gather import FIX_OR_SKIP, FIX_THE_ROW
from samsum_stream.sources.views import Joined
from samsum_stream.stream.holdout import training_rows
from samsum_stream.stream.selection import selected
from samsum_stream.stream.tasks import Tasks
from samsum_stream.values.rows import Rows

NUM_PROBED_ROWS = 64
"""The first rows of a source, which are read to check its columns and to compare the backends."""


Where = Callable[..., str]
"""Returns the location of a key of a section, for messages."""


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

    @property
    def leaves(self) -> list[Leaf]:
        """The sources of the rows that the stream reads, by their shards."""
        return self.source.mixture.leaves if isinstance(self.source, Joined) else self.source.leaves


def open_rows(config: StreamConfig, tasks: Tasks, *, rows: object, trust: Sequence[str]) -> OpenedRows:
    """The rows that training reads.

    Args:
        config: The config.
        tasks: How the rows of each source become examples: the templates name columns.
        rows: Rows that replace the source of the config; None uses the source of the config.
        trust: The modules that the config may import.

    Raises:
        SamsumStreamError: the source cannot be opened or split, or one of the first rows is bad.
    """
    whole = build_source(config, tasks, rows=rows, trust=trust)
    first_rows = first_rows_of(config, whole, faults_of(config))
    return OpenedRows(whole, training_rows(whole, config.holdout, where=config.where("holdout")), first_rows)


def faults_of(config: StreamConfig) -> Faults:
    """The policy for bad rows."""
    return Faults(config.fault_config.on_bad_row == "skip", config.fault_config.max_bad_rows)


def build_source(config: StreamConfig, tasks: Tasks, *, rows: object, trust: Sequence[str]) -> Source:
    """The source of `rows`; the source of the config if `rows` is None."""
    section, where = config.source_config, functools.partial(config.where, "source_config")
    if rows is not None:
        task = tasks.of_config
        source = as_source(rows, name="rows", columns=section.columns, rules=task.rules, templates=task.names)
        return selected(source, section, where=where)
    if section.method is None:
        raise ConfigError(
            f"{config.where('source_config', 'method')}: the kind of the source is missing; "
            f"{did_you_mean('', [*SOURCES, MIXTURE])}, path.to.module::name; or pass SFTStream(..., rows=rows)"
        )
    return _Opener(trust, tasks).source(section.method, section, leaf="", name=None, where=where)


class _Opener(NamedTuple):
    """Opens the sources of a config.

    Attributes:
        trust: The modules that the config may import.
        tasks: How the rows of each source become examples.
    """

    trust: Sequence[str]
    tasks: Tasks

    def source(self, method: str, section: SourceConfig, *, leaf: str, name: str | None, where: Where) -> Source:
        """The source of a section.

        Args:
            method: The name of the method.
            section: The section.
            leaf: The name of the source as in `stats.children`; empty if it is not a child of a mixture.
            name: The name of the source in the mixture that it is a child of; None if it is not a child.
            where: Returns the location of a key of the section, for messages.
        """
        if method == MIXTURE:
            kwargs = MixtureKwargs.model_validate(section.kwargs)
            return self.mixture(kwargs, leaf=leaf, name=name or MIXTURE, where=where)
        known: dict[str, Any] = {**SOURCES, MIXTURE: None}
        factory = resolve(method, table=known, kind="source", trust=self.trust, where=where("method"))
        task = self.tasks.of(leaf)
        try:
            source = as_source(
                functools.partial(call, factory, section.kwargs, where=where("kwargs")),
                name=name or default_name(method, section.kwargs),
                columns=section.columns,
                rules=task.rules,
                templates=task.names,
            )
        except SourceError as error:
            raise SourceError(f"{where()}: {error}") from error.__cause__
        return selected(source, section, where=where)

    def mixture(self, kwargs: MixtureKwargs, *, leaf: str, name: str, where: Where) -> Mixture:
        """A mixture with its children; the other arguments are those of `source`."""
        children = []
        for child, section in kwargs.sources.items():
            where_child = functools.partial(where, "kwargs", "sources", child)
            below = f"{leaf}/{child}".removeprefix("/")
            source = self.source(section.method, section, leaf=below, name=child, where=where_child)
            children.append((child, source))
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
