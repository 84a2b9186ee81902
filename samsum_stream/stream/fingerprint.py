"""What the order of a stream follows from, field by field, so that a state can tell whose it is.

Content counts, not places: no path, time or URL stands in it, so data may move between two runs.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from samsum_stream.config import MIXTURE, MixtureKwargs, SourceConfig, StreamConfig
from samsum_stream.errors import RowError
from samsum_stream.prompts import Message, Prompt, PromptFormat
from samsum_stream.sources import IndexedSource, Mixture, Source
from samsum_stream.values.rows import Rows

NUM_SAMPLED = 16
_PROBES = [Message("an input", "a response", ("a context",) * number) for number in range(3)]


def fingerprint_of(
    config: StreamConfig,
    *,
    source: str,
    prompt: Prompt,
    tokenizer: str,
    num_lanes: int,
    batch_size: int,
    epochs: int | None,
) -> dict[str, str | int | bool | None]:
    """The fields, in plain values.

    Args:
        source: What `source_identity` says.
        tokenizer: The tokenizer's own serialization.
        batch_size: Packs of a batch; a Trainer may have another number than the config.
        epochs: Epochs of a pass; likewise.
    """
    packing = config.packing_config
    return {
        "source": source,
        "columns": ", ".join(_columns(config.source_config)),
        "tokenizer": f"{_digest([tokenizer])} {config.tokenizer_config.special_tokens_in_rows}",
        "prompt": f"{type(prompt).__name__} {_rendered(replace(prompt, format=PromptFormat()))}",
        "format": f"{type(prompt.format).__name__} {_rendered(Prompt(system_message='system', format=prompt.format))}",
        "truncation": config.truncation_config.method,
        "packing": f"{packing.method} {packing.kwargs.max_length} {packing.kwargs.buffer_size}",
        "batch_size": batch_size,
        "shuffle": config.shuffle,
        "faults": config.fault_config.on_bad_row,
        "epochs": epochs,
        "lanes": num_lanes,
        "seed": config.seed,
    }


def _columns(section: SourceConfig, name: str = "") -> list[str]:
    """Those of a source, or of all children of a mixture."""
    if section.method == MIXTURE:
        children = MixtureKwargs.model_validate(section.kwargs).sources
        return [text for child, below in children.items() for text in _columns(below, f"{name}{child}/")]
    return [f"{name}{ours}={theirs}" for ours, theirs in sorted(section.columns.items())]


def source_identity(source: Source, first_rows: Rows) -> str:
    """Name, number of rows where it is known, and a digest of the shards and of some rows."""
    shards = [f"{shard.name}\0{shard.num_rows}" for shard in source.shards]
    parts = [source.name]
    if source.num_rows is not None:
        parts.append(f"{source.num_rows} rows")
    return " ".join([*parts, _digest([*shards, *_texts(first_rows), *_sample(source)])])


def _sample(source: Source) -> list[str]:
    """Rows from all over the source; a bad one among them is reported when it is read for training."""
    if isinstance(source, Mixture):
        return [repr(source.mix), *(text for child in source.children for text in _sample(child.source))]
    if not isinstance(source, IndexedSource):
        return []
    try:
        return _texts(source.take(np.linspace(0, source.num_rows - 1, NUM_SAMPLED).astype(np.int64)))
    except RowError as error:
        return [str(error)]


def _texts(rows: Rows) -> list[str]:
    contexts = [] if rows.contexts is None else [text for texts in rows.contexts for text in texts]
    return [*rows.inputs, *rows.responses, *contexts]


def _rendered(prompt: Prompt) -> str:
    return _digest(prompt.render([probe]) for probe in _PROBES)


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode(errors="surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()[:12]
