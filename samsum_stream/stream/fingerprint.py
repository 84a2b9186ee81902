"""The fingerprint of a stream: the inputs that determine its order, so that a state fits only the stream that saved it.

A fingerprint contains no path, no time and no URL. Therefore data can move between two runs.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from samsum_stream.config import LeafSection, StreamConfig, leaf_sections
from samsum_stream.config.task import ANY_LENGTH
from samsum_stream.errors import RowError
from samsum_stream.prompts import Message, Prompt, PromptFormat
from samsum_stream.sources import IndexedSource, Mixture, Source
from samsum_stream.sources.rows.selection import Function, Selection
from samsum_stream.stream.encoders import BuiltTask
from samsum_stream.stream.first_rows import NUM_PROBED_ROWS
from samsum_stream.values.rows import Rows

NUM_SAMPLED = 16
"""Rows of an indexed source in the identity of the source."""

_PROBES = [Message("an input", "a response", ("a context",) * number) for number in range(3)]


def fingerprint_of(
    config: StreamConfig,
    *,
    reads_holdout: bool,
    source: str,
    selections: Mapping[str, Selection],
    tasks: Mapping[str, BuiltTask],
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
        selections: Which rows are kept, and how they are changed, by the name of the child of a mixture.
        tasks: How the rows of each source become examples.
        eos: The token that ends a response, which is not in the JSON of a tokenizer.
        num_lanes: The number of lanes.
        batch_size: The packs of a batch. A Trainer can set another number than the config.
        epochs: The epochs of a run; None for an endless stream. A Trainer can set another number than the config.
    """
    packing, section = config.packing_config, config.source_config
    return {
        "source": source,
        "columns": ", ".join(text for leaf in leaf_sections(section) for text in _columns(leaf)),
        "selection": ", ".join(text for leaf in leaf_sections(section) for text in _selections(leaf)) or None,
        **_of_selections(selections),
        "holdout": _holdout(config.holdout, reads_it=reads_holdout),
        **{name: _of_tasks(tasks, field) for name, field in _OF_TASK.items()},
        "eos": eos,
        "packing": f"{packing.method} {packing.kwargs.max_length} {packing.kwargs.buffer_size}",
        "batch_size": batch_size,
        "shuffle": config.shuffle,
        "faults": config.fault_config.on_bad_row,
        "epochs": epochs,
        "lanes": num_lanes,
        "seed": config.seed,
    }


def _of_tasks(tasks: Mapping[str, BuiltTask], field: Callable[[BuiltTask], str | None]) -> str | None:
    """A field that all sources share; else the field of each source."""
    fields = {leaf: field(task) for leaf, task in tasks.items()}
    if len(set(fields.values())) == 1:
        return next(iter(fields.values()))
    return ", ".join(f"{leaf}: {value}" for leaf, value in fields.items())


def _tokenizer(task: BuiltTask) -> str:
    section = task.config.tokenizer_config
    allows_packed = " one_document" if section.ids_without_borders == "one_document" else ""
    return f"{_digest([task.encoder.tokenizer.reference.serialized])} {section.special_tokens_in_rows}{allows_packed}"


def _prompt(task: BuiltTask) -> str:
    prompt = task.formats.prompt
    stripping = "" if prompt.strip else " without stripping"
    return f"{type(prompt).__name__} {_rendered(replace(prompt, format=PromptFormat()))}{stripping}"


def _format(task: BuiltTask) -> str:
    prompt_format = task.formats.prompt.format
    return f"{type(prompt_format).__name__} {_rendered(Prompt(system_message='system', format=prompt_format))}"


def _truncation(task: BuiltTask) -> str:
    section = task.config.truncation_config
    split = f" {section.kwargs.overlap} {section.kwargs.at}" if section.method == "split" else ""
    kept = "" if section.lengths == ANY_LENGTH else f" of {section.min_tokens} to {section.max_tokens} tokens"
    return f"{section.method}{split}{kept}"


_OF_TASK: dict[str, Callable[[BuiltTask], str | None]] = {
    "tokenizer": _tokenizer,
    "prompt": _prompt,
    "format": _format,
    "chat_template": lambda task: None if task.formats.chat is None else task.formats.chat.identity,
    "conversation": lambda task: repr(task.config.conversation_config),
    "loss": lambda task: repr(task.config.loss_config),
    "truncation": _truncation,
}
"""The fields in which the sources of a mixture can differ."""


def _holdout(holdout: int | float, *, reads_it: bool) -> str | None:
    """The part of the rows that a stream reads; None, as in states of earlier versions, if it reads all rows."""
    if not holdout:
        return None
    return f"{'only' if reads_it else 'without'} {holdout}"


def _columns(leaf: LeafSection) -> list[str]:
    """The columns of a source, as texts `child/field=column`."""
    return [f"{_start(leaf)}{field}={column}" for field, column in sorted(leaf.section.columns.items())]


def _selections(leaf: LeafSection) -> list[str]:
    """The selected rows of a source, as a text `child/[start, stop, step]`."""
    chosen = leaf.section.row_range
    is_whole = leaf.section.slice is None and leaf.section.max_rows is None
    return [] if is_whole else [f"{_start(leaf)}[{chosen.start}, {chosen.stop}, {chosen.step}]"]


def _start(leaf: LeafSection) -> str:
    return f"{leaf.name}/" if leaf.name else ""


def _of_selections(selections: Mapping[str, Selection]) -> dict[str, str | None]:
    """The keys of the selections, with those of all children; None, as in older states, for a key that none has."""
    texts: dict[str, list[str]] = {"where": [], "map": [], "filter": []}
    for child, selection in selections.items():
        start = f"{child}/" if child else ""
        texts["where"] += [f"{start}{column}={condition}" for column, condition in selection.where.items()]
        for key, function in (("map", selection.map), ("filter", selection.filter)):
            texts[key] += [] if function is None else [f"{start}{_function(function)}"]
    return {key: ", ".join(sorted(parts)) or None for key, parts in texts.items()}


def _function(function: Function) -> str:
    """The name of a function, and a digest of its source code if Python has it; not of the functions that it calls."""
    try:
        return f"{function.name} {_digest([inspect.getsource(function.call)])}"
    except (TypeError, OSError):
        return function.name


def digest_of_rows(rows: Iterable[Rows]) -> str:
    """A digest of the texts of rows."""
    return _digest(text for part in rows for text in part.texts)


def source_identity(source: Source, first_digest: str) -> str:
    """The name of the source, the number of its rows if known, and a digest of its shards and of some rows.

    Args:
        source: The source.
        first_digest: The result of `digest_of_rows` for its first rows.
    """
    shards = [f"{shard.name}\0{shard.num_rows}" for shard in source.shards]
    parts = [source.name]
    if source.num_rows is not None:
        parts.append(f"{source.num_rows} rows")
    return " ".join([*parts, _digest([*shards, first_digest, *_sample(source)])])


def _sample(source: Source) -> list[str]:
    """The texts of rows that are spread over an indexed source, after its first rows, whose digest is known.

    A bad row is reported only when training reads it.
    """
    if isinstance(source, Mixture):
        return [repr(source.mix), *(text for child in source.children for text in _sample(child.source))]
    if not isinstance(source, IndexedSource) or source.num_rows <= NUM_PROBED_ROWS:
        return []
    try:
        return [*source.take(np.linspace(NUM_PROBED_ROWS, source.num_rows - 1, NUM_SAMPLED).astype(np.int64)).texts]
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
