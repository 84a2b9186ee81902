"""The fingerprint of a stream: the inputs that determine its order, so that a state fits only the stream that saved it.

A fingerprint contains no path, no time and no URL. Therefore data can move between two runs.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from samsum_stream.config import MIXTURE, MixtureKwargs, SourceConfig, StreamConfig, TokenizerConfig, TruncationConfig
from samsum_stream.errors import RowError
from samsum_stream.prompts import Message, Prompt, PromptFormat
from samsum_stream.sources import IndexedSource, Mixture, Source
from samsum_stream.stream.renderers import Formats
from samsum_stream.values.rows import Rows

NUM_SAMPLED = 16
"""Rows of an indexed source in the identity of the source."""

_PROBES = [Message("an input", "a response", ("a context",) * number) for number in range(3)]


def fingerprint_of(
    config: StreamConfig,
    *,
    reads_holdout: bool,
    source: str,
    formats: Formats,
    tokenizer: str,
    eos: str,
    num_lanes: int,
    batch_size: int,
    epochs: int | None,
) -> dict[str, str | int | bool | None]:
    """The fields of the fingerprint, as plain values.

    Args:
        config: The config.
        reads_holdout: Whether the stream reads the held-out rows, and not the others.
        source: The result of `source_identity`.
        formats: The formats in which rows are written.
        tokenizer: The tokenizer as JSON.
        eos: The token that ends a response, which is not in this JSON.
        num_lanes: The number of lanes.
        batch_size: The packs of a batch. A Trainer can set another number than the config.
        epochs: The epochs of a run; None for an endless stream. A Trainer can set another number than the config.
    """
    packing, prompt = config.packing_config, formats.prompt
    return {
        "source": source,
        "columns": ", ".join(_columns(config.source_config)),
        "selection": ", ".join(_selections(config.source_config)) or None,
        "holdout": _holdout(config.holdout, reads_it=reads_holdout),
        "tokenizer": _tokenizer(config.tokenizer_config, tokenizer),
        "eos": eos,
        "prompt": f"{type(prompt).__name__} {_rendered(replace(prompt, format=PromptFormat()))}"
        f"{'' if prompt.strip else ' without stripping'}",
        "format": f"{type(prompt.format).__name__} {_rendered(Prompt(system_message='system', format=prompt.format))}",
        "chat_template": None if formats.chat is None else formats.chat.identity,
        "conversation": repr(config.conversation_config),
        "loss": repr(config.loss_config),
        "truncation": _truncation(config.truncation_config),
        "packing": f"{packing.method} {packing.kwargs.max_length} {packing.kwargs.buffer_size}",
        "batch_size": batch_size,
        "shuffle": config.shuffle,
        "faults": config.fault_config.on_bad_row,
        "epochs": epochs,
        "lanes": num_lanes,
        "seed": config.seed,
    }


def _tokenizer(section: TokenizerConfig, serialized: str) -> str:
    allows_packed = " one_document" if section.ids_without_borders == "one_document" else ""
    return f"{_digest([serialized])} {section.special_tokens_in_rows}{allows_packed}"


def _truncation(section: TruncationConfig) -> str:
    return f"split {section.kwargs.overlap} {section.kwargs.at}" if section.method == "split" else section.method


def _holdout(holdout: int | float, *, reads_it: bool) -> str | None:
    """The part of the rows that a stream reads; None, as in states of earlier versions, if it reads all rows."""
    if not holdout:
        return None
    return f"{'only' if reads_it else 'without'} {holdout}"


def _columns(section: SourceConfig, name: str = "") -> list[str]:
    """The columns of a source, or of all children of a mixture, as texts `child/field=column`."""
    if section.method == MIXTURE:
        children = MixtureKwargs.model_validate(section.kwargs).sources
        return [text for child, below in children.items() for text in _columns(below, f"{name}{child}/")]
    return [f"{name}{field}={column}" for field, column in sorted(section.columns.items())]


def _selections(section: SourceConfig, name: str = "") -> list[str]:
    """The selected rows of a source, or of all children of a mixture, as texts `child/[start, stop, step]`."""
    if section.method == MIXTURE:
        children = MixtureKwargs.model_validate(section.kwargs).sources
        return [text for child, below in children.items() for text in _selections(below, f"{name}{child}/")]
    chosen = section.row_range
    is_whole = section.slice is None and section.max_rows is None
    return [] if is_whole else [f"{name}[{chosen.start}, {chosen.stop}, {chosen.step}]"]


def source_identity(source: Source, first_rows: Sequence[Rows]) -> str:
    """The name of the source, the number of its rows if known, and a digest of its shards and of some rows.

    Args:
        source: The source.
        first_rows: The first rows of each of its leaves.
    """
    shards = [f"{shard.name}\0{shard.num_rows}" for shard in source.shards]
    parts = [source.name]
    if source.num_rows is not None:
        parts.append(f"{source.num_rows} rows")
    return " ".join(
        [
            *parts,
            _digest(
                chain(shards, (text for rows in first_rows for text in rows.texts), _sample(source, iter(first_rows)))
            ),
        ]
    )


def _sample(source: Source, first_rows: Iterator[Rows]) -> Iterable[str]:
    """The texts of rows that are spread over an indexed source. A bad row is reported only when training reads it."""
    if isinstance(source, Mixture):
        return [repr(source.mix), *(text for child in source.children for text in _sample(child.source, first_rows))]
    first = next(first_rows)
    if not isinstance(source, IndexedSource):
        return []
    indices = np.linspace(0, source.num_rows - 1, NUM_SAMPLED).astype(np.int64)
    known = 0 if first.skipped else int(np.searchsorted(indices, len(first)))  # a very long row is not read again
    rows = first.picked(indices[:known])
    try:
        return (Rows.joined(rows, source.take(indices[known:])) if known < len(indices) else rows).texts
    except RowError as error:
        return [f"{error.position} {error.field} {error.reason}"]


def _rendered(prompt: Prompt) -> str:
    """A digest of the text that a prompt writes around rows with 0, 1 and 2 contexts."""
    columns = {name: f"the column {name}" for name in prompt.names}
    return _digest(prompt.render([replace(probe, columns=columns)]) for probe in _PROBES)


def _digest(texts: Iterable[str]) -> str:
    """The first 12 hexadecimal digits of a SHA-256 of the texts and their lengths."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode(errors="surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()[:12]
