"""The validation split: which rows of a source are held out, as a function of the source and of `holdout` alone.

number of rows known      the first H elements of a keyed permutation of all rows
unknown                   the rows whose keyed hash of shard name and row number is below the share

Each source of a mixture is split by itself. The key is fixed, so that the seed does not change the split.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from samsum_stream.config import StreamConfig, parse_config
from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import counted, did_you_mean
from samsum_stream.lanes.permutation import permute
from samsum_stream.sources import IndexedSource, Mixture, SequentialSource, Source
from samsum_stream.sources.mixture import mapped
from samsum_stream.sources.views import CountedRows, HashedRows, IndexedView, Joined, Listed, RowSet, SequentialView

KEY = 0x51F0A3C2D97B6E84

SETTINGS = ("packing_config", "truncation_config", "collator_config", "batch_size", "lanes")
"""The keys of a config that the stream of the held-out rows can have for itself."""


def holdout_config(config: StreamConfig, settings: Mapping[str, Any]) -> StreamConfig:
    """The config of the stream of the held-out rows: one epoch, in order, with other settings.

    Raises:
        ConfigError: no rows are held out, or a setting is unknown or breaks a rule.
    """
    if not config.holdout:
        raise ConfigError(
            f"{config.where('holdout')}: no rows are held out, got {config.holdout}; write a number of rows, or a "
            "share such as 0.01"
        )
    if unknown := [name for name in settings if name not in SETTINGS]:
        raise ConfigError(
            f"stream.holdout: {unknown[0]} cannot differ from the config of the training; "
            f"{did_you_mean(unknown[0], SETTINGS)}"
        )
    run: dict[str, Any] = {"epochs": 1, "shuffle": False, "lanes": "auto"}
    if not settings:
        return config.model_copy(update=run)
    return parse_config({**config.model_dump(exclude_unset=True), **run, **settings}, origin="stream.holdout")


def training_rows(source: Source, holdout: int | float, *, where: str) -> Source:
    """The rows of a source that training reads.

    Args:
        source: The source.
        holdout: The held-out rows of each source of a mixture: a number of rows, or a share below 1. 0: none.
        where: The location of `holdout` in the config, for messages.

    Raises:
        ConfigError: a source has no rows left, or no known number of rows for a number of held-out rows.
    """
    if not holdout:
        return source
    return mapped(source, lambda leaf: _part(leaf, holdout, is_held_out=False, where=where))


def held_out_rows(source: Source, holdout: int | float, *, where: str) -> Source:
    """The other rows, each once in an epoch; the arguments and errors are those of `training_rows`."""
    held_out = mapped(source, lambda leaf: _part(leaf, holdout, is_held_out=True, where=where))
    return Joined(held_out) if isinstance(held_out, Mixture) else held_out


def _part(source: Source, holdout: int | float, *, is_held_out: bool, where: str) -> Source:
    if source.num_rows is None:
        assert isinstance(source, SequentialSource)
        return SequentialView(source, _share_of(source, holdout, is_held_out=is_held_out, where=where))
    number = _number_of(source, source.num_rows, holdout, where=where)
    listed = np.sort(permute(np.arange(number), length=source.num_rows, key=(KEY,)))
    numbers = Listed(listed, num_rows=source.num_rows, others=not is_held_out)
    if isinstance(source, IndexedSource):
        return IndexedView(source, numbers)
    assert isinstance(source, SequentialSource)
    return SequentialView(source, CountedRows(numbers, source.shards))


def _number_of(source: Source, num_rows: int, holdout: int | float, *, where: str) -> int:
    number = holdout if isinstance(holdout, int) else max(round(holdout * num_rows), 1)
    if number >= num_rows:
        raise ConfigError(
            f"{where}: {source.name} has {counted(num_rows, 'row')}, and {number:,} of them would be held out, so none "
            "is left to train on; write a smaller number"
        )
    return number


def _share_of(source: Source, holdout: int | float, *, is_held_out: bool, where: str) -> RowSet:
    if isinstance(holdout, int):
        raise ConfigError(
            f"{where}: a number of rows needs a source whose number of rows is known before it is read, got {holdout} "
            f"for {source.name}; write a share, such as 0.01"
        )
    return HashedRows(source.shards, share=holdout, key=KEY, others=not is_held_out)
