"""Warns if forked workers copy a large list of rows, which they share with the training process at first."""

import logging
import multiprocessing
from typing import Any

from samsum_stream.errors.once import warn_once
from samsum_stream.errors.wording import counted
from samsum_stream.sources import Source
from samsum_stream.sources.memory import ListSource

logger = logging.getLogger(__name__)

MAX_COPIED = 1 << 28
"""Bytes that all workers together may copy without a warning."""


def warn_of_copies(source: Source, *, num_workers: int, context: Any) -> None:
    """Warn once if forked workers copy many rows: Python changes a row that it reads, because it counts references.

    Args:
        source: The source that the workers read.
        num_workers: The number of workers.
        context: The context of `multiprocessing` that starts the workers; None for the default one.
    """
    if (context or multiprocessing).get_start_method() != "fork":
        return
    for rows in (leaf.source.origin for leaf in source.leaves):
        if not isinstance(rows, ListSource):
            continue
        if (num_bytes := rows.num_object_bytes) * num_workers > MAX_COPIED:
            warn_once(
                logger,
                "%s: each of %s copies up to %s MB of Python objects while it reads the list of %s; pass "
                "rows=datasets.Dataset.from_list(rows), or write a jsonl file, which the workers share without copies",
                *(rows.name, counted(num_workers, "forked worker"), f"{num_bytes / 1e6:,.0f}"),
                counted(rows.num_rows, "row"),
            )
