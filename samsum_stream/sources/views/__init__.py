"""Sources that read some of the rows of another source; every row keeps its position."""

from samsum_stream.sources.views.indexed import IndexedView
from samsum_stream.sources.views.joined import Joined
from samsum_stream.sources.views.numbers import Listed, Numbers, Sliced
from samsum_stream.sources.views.row_sets import CountedRows, HashedRows, RowSet, SlicedRows
from samsum_stream.sources.views.sequential import SequentialView

__all__ = [
    "CountedRows",
    "HashedRows",
    "IndexedView",
    "Joined",
    "Listed",
    "Numbers",
    "RowSet",
    "SequentialView",
    "Sliced",
    "SlicedRows",
]
