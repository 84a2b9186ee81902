"""Opens the source of a config."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from samsum_stream.config import MIXTURE, MixtureKwargs, SourceConfig, StreamConfig
from samsum_stream.config.registry import call, resolve
from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.errors.wording import did_you_mean
from samsum_stream.sources import (
    SOURCES,
    Leaf,
    Mixture,
    Source,
    as_source,
    default_name,
)
from samsum_stream.sources.faults import Faults
from samsum_stream.sources.mixture import Mix
from samsum_stream.sources.views import Joined
from samsum_stream.stream.holdout import training_rows
from samsum_stream.stream.selection import selected, selection_of
from samsum_stream.stream.tasks import Tasks

Where = Callable[..., str]
"""Returns the location of a key of a section, for messages."""


class OpenedRows(NamedTuple):
    """The rows of a stream.

    Attributes:
        whole: The source with all rows, those that are held out included.
        source: The rows that the stream reads.
        are_held_out: Whether the stream reads the held-out rows.
    """

    whole: Source
    source: Source
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
        SamsumStreamError: the source cannot be opened or split.
    """
    whole = build_source(config, tasks, rows=rows, trust=trust)
    return OpenedRows(whole, training_rows(whole, config.holdout, where=config.where("holdout")))


def faults_of(config: StreamConfig) -> Faults:
    """The policy for bad rows."""
    return Faults(config.fault_config.on_bad_row == "skip", config.fault_config.max_bad_rows)


def build_source(config: StreamConfig, tasks: Tasks, *, rows: object, trust: Sequence[str]) -> Source:
    """The source of `rows`; the source of the config if `rows` is None."""
    section, where = config.source_config, functools.partial(config.where, "source_config")
    if rows is not None:
        selection = selection_of(section, trust=trust, where=where)
        task = tasks.of_config
        source = as_source(
            rows, name="rows", columns=section.columns, rules=task.rules, templates=task.names, selection=selection
        )
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
        task, selection = self.tasks.of(leaf), selection_of(section, trust=self.trust, where=where)
        known: dict[str, Any] = {**SOURCES, MIXTURE: None}
        factory = resolve(method, table=known, kind="source", trust=self.trust, where=where("method"))
        try:
            source = as_source(
                functools.partial(call, factory, section.kwargs, where=where("kwargs")),
                name=name or default_name(method, section.kwargs),
                columns=section.columns,
                rules=task.rules,
                templates=task.names,
                selection=selection,
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
