"""Opens the source of a config, and checks its first rows."""

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from samsum_stream.config import MIXTURE, MixtureKwargs, SourceConfig, StreamConfig
from samsum_stream.config.registry import call, resolve
from samsum_stream.errors import ConfigError, RowError, SourceError
from samsum_stream.errors.wording import did_you_mean
from samsum_stream.loader.processes.progress import waiting
from samsum_stream.sources import SOURCES, Block, Mixture, Source, as_source, default_name
from samsum_stream.sources.faults import SKIP, Faults
from samsum_stream.sources.mixture import Mix
from samsum_stream.sources.rows.gather import FIX_THE_ROW
from samsum_stream.values.rows import Rows

NUM_PROBED_ROWS = 64
"""The first rows of a source, which are read to check its columns and to compare the backends."""


def build_source(config: StreamConfig, *, rows: object, trust: Sequence[str]) -> Source:
    """The source of `rows`; the source of the config if `rows` is None."""
    section = config.source_config
    if rows is not None:
        return as_source(rows, name="rows", columns=section.columns)
    if section.method is None:
        raise ConfigError(
            f"{config.where('source_config', 'method')}: the kind of the source is missing; "
            f"{did_you_mean('', [*SOURCES, MIXTURE])}, path.to.module::name; or pass SFTStream(..., rows=rows)"
        )
    where = functools.partial(config.where, "source_config")
    return _open_source(section.method, section, name=None, where=where, trust=trust)


def _open_source(
    method: str, section: SourceConfig, *, name: str | None, where: Callable[..., str], trust: Sequence[str]
) -> Source:
    """The source of a section.

    Args:
        method: The name of the method.
        section: The section.
        name: The name of the source as a child of a mixture; None if it is not a child.
        where: Returns the location of a key of the section, for messages.
        trust: The modules that the config may import.
    """
    if method == MIXTURE:
        return _open_mixture(
            MixtureKwargs.model_validate(section.kwargs), name=name or MIXTURE, where=where, trust=trust
        )
    known: dict[str, Any] = {**SOURCES, MIXTURE: None}
    factory = resolve(method, table=known, kind="source", trust=trust, where=where("method"))
    try:
        return as_source(
            functools.partial(call, factory, section.kwargs, where=where("kwargs")),
            name=name or default_name(method, section.kwargs),
            columns=section.columns,
        )
    except SourceError as error:
        raise SourceError(f"{where()}: {error}") from error.__cause__


def _open_mixture(kwargs: MixtureKwargs, *, name: str, where: Callable[..., str], trust: Sequence[str]) -> Mixture:
    """A mixture with its children; the other arguments are those of `_open_source`."""
    children = []
    for child, section in kwargs.sources.items():
        where_child = functools.partial(where, "kwargs", "sources", child)
        children.append((child, _open_source(section.method, section, name=child, where=where_child, trust=trust)))
    weights = tuple(section.weight for section in kwargs.sources.values())
    return Mixture(children, name=name, mix=Mix(weights, kwargs.weight_by, kwargs.stopping_strategy))


def first_rows_of(config: StreamConfig, source: Source, faults: Faults) -> Rows:
    """The first rows of the source. If all of them are bad, the config is wrong, and the error is not skipped."""
    with waiting(f"reading the first rows of {source.name}") if source.is_remote else nullcontext():
        block, rows = _probed(source)
        if any(bad.reason == "missing_field" for _, bad in rows.skipped):
            _require_columns(config, source)
        if not rows.skipped or (len(rows) and faults.skips):
            return rows
        if not faults.skips:
            return block.take(np.arange(block.num_rows))  # raises the first error
        try:
            return block.take(np.arange(1))
        except RowError as error:
            message = f"{error} (not skipped, because all of the first {block.num_rows} rows are bad)"
            raise RowError(message, position=error.position, field=error.field, reason=error.reason) from None


def _probed(source: Source) -> tuple[Block, Rows]:
    """The first block of a source, and its rows without the bad ones."""
    block = source.first_block(NUM_PROBED_ROWS)
    return block, SKIP.take(block.take, np.arange(block.num_rows))


def _require_columns(config: StreamConfig, source: Source) -> None:
    """Raise `SourceError` if all first rows of a source lack a column: then the config is wrong, not the rows."""
    for leaf in source.leaves:
        block, rows = _probed(leaf.source)
        if len(rows) or {bad.reason for _, bad in rows.skipped} != {"missing_field"}:
            continue
        path = [key for child in filter(None, leaf.name.split("/")) for key in ("kwargs", "sources", child)]
        try:
            block.take(np.arange(1))
        except RowError as error:
            number = "the only row" if block.num_rows == 1 else f"all of the first {block.num_rows} rows"
            reason, _, remedy = str(error).removesuffix(FIX_THE_ROW).rpartition("; ")
            where = config.where("source_config", *path, "columns")
            raise SourceError(f"{where}: {reason} (in {number}); {remedy}") from None
