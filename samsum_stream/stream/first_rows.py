"""Reads and checks the first rows of a source: they show the form of its rows, and whether its columns are right."""

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np

from samsum_stream.config import StreamConfig
from samsum_stream.errors import RowError, SourceError
from samsum_stream.loader.processes.progress import waiting
from samsum_stream.pipeline.lane import MAX_ROWS_WITHOUT_EXAMPLES, nothing_left
from samsum_stream.sources import Block, IndexedSource, Leaf, SequentialSource, Source
from samsum_stream.sources.faults import SKIP, Faults, Take
from samsum_stream.sources.rows.gather import FIX_OR_SKIP, FIX_THE_ROW
from samsum_stream.sources.rows.matching import unknown_condition
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import DroppedRow, Rows

NUM_PROBED_ROWS = 64
"""The first rows of a source, which are read to check its columns and to compare the backends."""

NUM_SEARCHED_ROWS = 4096
"""Rows that are read at one time to find a row that is selected, if none of the first rows is."""


def first_rows_of(config: StreamConfig, source: Source, faults: Faults) -> list[Rows]:
    """The first rows of each leaf of a source. If all rows of a leaf are bad, the config is wrong, and this raises."""
    with waiting(f"reading the first rows of {source.name}") if source.is_remote else nullcontext():
        return [_first_rows(config, leaf, faults) for leaf in source.leaves]


def _first_rows(config: StreamConfig, leaf: Leaf, faults: Faults) -> Rows:
    block = leaf.source.first_block(NUM_PROBED_ROWS)
    rows = SKIP.take(block.take, np.arange(block.num_rows))
    bad_rows = rows.bad
    if not len(rows) and len(bad_rows) < rows.num_read:  # the rows that are not bad are left out
        _require_conditions(config, leaf, rows)
        return _first_selected(leaf.source, faults).of_shards_from(leaf.first_shard)
    kinds = {(bad.field, bad.reason) for bad in bad_rows}
    if not len(rows) and {reason for _, reason in kinds} == {"missing_field"}:
        raise _missing_column(config, leaf, block)
    if not bad_rows or (len(rows) and faults.skips):
        return rows.of_shards_from(leaf.first_shard)
    is_of_column = len(kinds) == 1 and {reason for _, reason in kinds} == {"wrong_type"} and block.num_rows > 1
    if len(rows) or not (faults.skips or is_of_column):
        return block.take(np.arange(block.num_rows))  # raises the first error
    raise _bad_rows(block, is_of_column=is_of_column, skips=faults.skips)


def _require_conditions(config: StreamConfig, leaf: Leaf, rows: Rows) -> None:
    """Raise `SourceError` if none of the first rows has the column of a condition."""
    missing = {row.missing if isinstance(row, DroppedRow) else "" for _, row in rows.skipped}
    if len(missing) == 1 and (column := missing.pop()):
        where = config.where("source_config", *_path_of(leaf), "where", column)
        problem = unknown_condition(column, leaf.source.origin.known_columns)
        raise SourceError(f"{where}: {leaf.source.name}: {problem} ({_in_all(rows.num_read)})")


def _first_selected(source: Source, faults: Faults) -> Rows:
    """The first rows of which one is selected.

    Raises:
        SourceError: no row is selected, or none of the first million.
    """
    num_rows, outcomes = 0, Counter[str]()
    for take, indices in _parts(source):
        rows = faults.take(take, indices)
        if len(rows):
            return rows
        num_rows += rows.num_read
        outcomes.update(row.outcome for _, row in rows.skipped)
        if num_rows > MAX_ROWS_WITHOUT_EXAMPLES:
            break
    raise nothing_left(source.name, num_rows, outcomes)


def _parts(source: Source) -> Iterator[tuple[Take, Int64Array]]:
    """All rows in parts; an iterator is only peeked at, so that the next pass yields the same rows."""
    if isinstance(source, IndexedSource):
        for start in range(0, source.num_rows, NUM_SEARCHED_ROWS):
            yield source.take, np.arange(start, min(start + NUM_SEARCHED_ROWS, source.num_rows))
        return
    assert isinstance(source, SequentialSource)
    if len(source.shards) == 1:
        yield from _parts_of_one_shard(source)
        return
    for shard in range(len(source.shards)):
        for block in source.blocks(shard, num_rows=NUM_SEARCHED_ROWS):
            yield block.take, np.arange(block.num_rows)


def _parts_of_one_shard(source: SequentialSource) -> Iterator[tuple[Take, Int64Array]]:
    start, size = 0, NUM_SEARCHED_ROWS
    while (block := source.first_block(size)).num_rows > start:
        yield block.take, np.arange(start, block.num_rows)
        start, size = block.num_rows, size * 8


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
    try:
        block.take(np.arange(1))
    except RowError as error:
        reason, _, remedy = str(error).removesuffix(FIX_THE_ROW).rpartition("; ")
        where = config.where("source_config", *_path_of(leaf), "columns")
        return SourceError(f"{where}: {reason} ({_in_all(block.num_rows)}); {remedy}")
    raise AssertionError("the first row was bad before")


def _path_of(leaf: Leaf) -> list[str]:
    """The keys from the section of the source to the section of a leaf."""
    return [key for child in filter(None, leaf.name.split("/")) for key in ("kwargs", "sources", child)]


def _in_all(num_rows: int) -> str:
    return "in the only row" if num_rows == 1 else f"in all of the first {num_rows} rows"
