"""The rows of a source that its section keeps: by their numbers (`slice`, `max_rows`), and by what they contain.

number of rows known      the slice of all rows, across shards
one shard                 the slice of the shard
several shards            `max_rows` is divided among the shards, and a slice is an error
"""

from collections.abc import Callable, Mapping, Sequence

from samsum_stream.config import SourceConfig
from samsum_stream.config.registry import resolve
from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import counted
from samsum_stream.lanes.permutation import lane_size
from samsum_stream.sources import IndexedSource, SequentialSource, Source
from samsum_stream.sources.rows.conditions import Condition
from samsum_stream.sources.rows.selection import Function, Selection
from samsum_stream.sources.views import CountedRows, IndexedView, RowSet, SequentialView, Sliced, SlicedRows


def selected(source: Source, section: SourceConfig, *, where: Callable[..., str]) -> Source:
    """The rows that a section keeps of its source.

    Args:
        source: The source, which is not a mixture.
        section: The section.
        where: Returns the location of a key of the section, for messages.

    Raises:
        ConfigError: no row is kept, or the slice needs row numbers that the source does not have.
    """
    if section.slice is None and section.max_rows is None:
        return source
    if source.num_rows is None:
        assert isinstance(source, SequentialSource)
        return SequentialView(source, _of_unknown_size(source, section, where=where))
    numbers = Sliced(section.row_range, num_rows=source.num_rows)
    if not len(numbers):
        raise ConfigError(
            f"{where('slice')}: {section.slice} keeps none of the {counted(source.num_rows, 'row')} of {source.name}; "
            "write a smaller start"
        )
    if isinstance(source, IndexedSource):
        return IndexedView(source, numbers)
    assert isinstance(source, SequentialSource)
    return SequentialView(source, CountedRows(numbers, source.shards))


def _of_unknown_size(source: SequentialSource, section: SourceConfig, *, where: Callable[..., str]) -> RowSet:
    num_shards = len(source.shards)
    if num_shards == 1:
        return SlicedRows([section.row_range])
    if section.slice is not None:
        raise ConfigError(
            f"{where('slice')}: {source.name} has {num_shards} shards, whose numbers of rows are unknown before they "
            f"are read, got {section.slice}; slice a source with one shard, or write max_rows"
        )
    assert section.max_rows is not None
    sizes = [lane_size(shard, num_rows=section.max_rows, num_lanes=num_shards) for shard in range(num_shards)]
    return SlicedRows([range(size) for size in sizes])


NO_FUNCTIONS: Mapping[str, Callable[..., object]] = {}


def selection_of(section: SourceConfig, *, trust: Sequence[str], where: Callable[..., str]) -> Selection:
    """The conditions and the functions of a section.

    Raises:
        ConfigError: a function cannot be imported.
        TrustError: `trust` does not cover a function.
    """
    functions = {
        key: Function(name, resolve(name, table=NO_FUNCTIONS, kind="function", trust=trust, where=where(key)))
        for key, name in (("map", section.map), ("filter", section.filter))
        if name is not None
    }
    return Selection({column: Condition.of(given) for column, given in section.where.items()}, **functions)
