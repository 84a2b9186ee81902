"""Rows, their positions, and the rows that are left out: bad rows, and those that the config does not select."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from samsum_stream.values.arrays import BoolArray, Int32Array, Int64Array, Ragged, offsets_of, sums_of
from samsum_stream.values.conversations import Conversation

T = TypeVar("T")


class RowPosition(NamedTuple):
    """The position of a row, or of one example of a row: `samsum/train.jsonl:1234 (epoch 0)`.

    Attributes:
        source: The name of the source.
        shard: The name of the shard; empty for a source with one unnamed shard.
        row: The number of the row in its shard, from 0.
        epoch: The epoch of the source, from 0.
        part: The number of the example in its row, from 0.
    """

    source: str
    shard: str
    row: int
    epoch: int
    part: int = 0

    @property
    def place(self) -> str:
        """The position without the epoch: `samsum/train.jsonl:1234`."""
        part = f" part {self.part}" if self.part else ""
        return f"{'/'.join(filter(None, (self.source, self.shard)))}:{self.row}{part}"

    def __str__(self) -> str:
        return f"{self.place} (epoch {self.epoch})"


class BadRow(NamedTuple):
    """A row that was skipped.

    Attributes:
        position: The position of the row.
        field: The field that broke the rule; empty if the row as a whole is bad.
        reason: The rule, as `stats.skipped` names it.
    """

    position: RowPosition
    field: str
    reason: str

    @property
    def outcome(self) -> str:
        """The name in `COUNTED` for what happened to the row."""
        return f"skipped.{self.reason}"


class DroppedRow(NamedTuple):
    """A row that the section of its source does not select.

    Attributes:
        position: The position of the row.
        reason: The key of the section, `where` or `filter`.
        missing: The column of a condition that the row does not have; empty if it has all of them.
    """

    position: RowPosition
    reason: str
    missing: str = ""

    @property
    def outcome(self) -> str:
        """The name in `COUNTED` for what happened to the row."""
        return f"dropped.{self.reason}"


@dataclass(frozen=True, slots=True)
class Instructions:
    """The texts of `n` rows with an input and a response, as columns.

    Attributes:
        inputs: The input of each row.
        responses: The response of each row.
        contexts: The contexts of each row; None if no row has any, which is the common case.
        columns: The texts of the other columns that the templates of the prompt name, by name.
    """

    inputs: list[str]
    responses: list[str]
    contexts: list[list[str]] | None = None
    columns: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def texts(self) -> Iterator[str]:
        """All texts of the rows: inputs, responses, contexts, then other columns."""
        contexts = chain.from_iterable(self.contexts or ())
        return chain(self.inputs, self.responses, contexts, *self.columns.values())

    def __add__(self, other: Self) -> Self:
        has_contexts = self.contexts is not None or other.contexts is not None
        contexts = [texts for rows in (self, other) for texts in rows.contexts or [[]] * len(rows)]
        return type(self)(
            self.inputs + other.inputs,
            self.responses + other.responses,
            contexts if has_contexts else None,
            {name: texts + other.columns[name] for name, texts in self.columns.items()},
        )

    def picked(self, indices: Int64Array) -> Self:
        """The rows at `indices`, `[n]`, in the given order."""
        contexts = None if self.contexts is None else _picked(self.contexts, indices)
        columns = {name: _picked(texts, indices) for name, texts in self.columns.items()}
        return type(self)(_picked(self.inputs, indices), _picked(self.responses, indices), contexts, columns)


class Completions(Instructions):
    """The texts of `n` rows with a prompt (`inputs`) and a completion (`responses`), which follows it directly."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Conversations:
    """The conversations of `n` rows."""

    conversations: list[Conversation]

    def __len__(self) -> int:
        return len(self.conversations)

    @property
    def texts(self) -> Iterator[str]:
        """All texts of the conversations."""
        return chain.from_iterable(conversation.texts for conversation in self.conversations)

    def __add__(self, other: Self) -> Self:
        return type(self)(self.conversations + other.conversations)

    def picked(self, indices: Int64Array) -> Self:
        """The rows at `indices`, `[n]`, in the given order."""
        return type(self)(_picked(self.conversations, indices))


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of `n` rows, each of which is trained as a whole."""

    texts: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def __add__(self, other: Self) -> Self:
        return type(self)(self.texts + other.texts)

    def picked(self, indices: Int64Array) -> Self:
        """The rows at `indices`, `[n]`, in the given order."""
        return type(self)(_picked(self.texts, indices))


@dataclass(frozen=True, slots=True)
class TokenIds:
    """The token ids of `n` rows that another program prepared; a row has one or more documents.

    Attributes:
        ids: The ids of all documents, end to end, int32, shape `[T]`.
        trained: Whether each token has a label, shape `[T]`.
        lengths: The number of tokens of each document, shape `[D]`.
        num_documents: The number of documents of each row, shape `[n]`.
        has_borders: Whether each row says where its documents end, shape `[n]`.
    """

    ids: Int32Array
    trained: BoolArray
    lengths: Int64Array
    num_documents: Int64Array
    has_borders: BoolArray

    def __len__(self) -> int:
        return len(self.num_documents)

    @property
    def row_lengths(self) -> Int64Array:
        """The number of tokens of each row, shape `[n]`."""
        return sums_of(self.lengths, self.num_documents)

    @property
    def texts(self) -> Iterator[str]:
        """The ids, the labels and the borders of each row as a text."""
        tokens, documents = offsets_of(self.row_lengths).tolist(), offsets_of(self.num_documents).tolist()
        for (start, end), (first, last) in zip(pairwise(tokens), pairwise(documents), strict=True):
            ids, trained = self.ids[start:end], self.trained[start:end]
            yield f"{ids.tolist()} {trained.tolist()} {self.lengths[first:last].tolist()}"

    def __add__(self, other: Self) -> Self:
        return self.joined([self, other])

    def picked(self, indices: Int64Array) -> Self:
        """The rows at `indices`, `[n]`, in the given order."""
        chosen = Ragged(indices, np.arange(len(indices) + 1))  # type: ignore[arg-type]
        tokens, documents = offsets_of(self.row_lengths), offsets_of(self.num_documents)
        values: Any = ((self.ids, tokens), (self.trained, tokens), (self.lengths, documents))
        columns: list[Any] = [Ragged(column, offsets).joined(chosen).ids for column, offsets in values]
        columns += [self.num_documents[indices], self.has_borders[indices]]
        return type(self)(*columns)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, of which there is at least one."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))


Content = Instructions | Conversations | Texts | TokenIds
"""What rows contain. All rows of a source have the same kind of content."""


@dataclass(frozen=True, slots=True)
class Rows:
    """`n` rows with their positions, and the rows between them that are left out.

    Attributes:
        content: The content of the rows.
        shards: The shard number of each row, shape `[n]`.
        rows: The row number of each row in its shard, shape `[n]`.
        skipped: The rows that are bad or not selected, each with its index among all rows that were read, ascending.
    """

    content: Content
    shards: Int32Array
    rows: Int64Array
    skipped: tuple[tuple[int, BadRow | DroppedRow], ...] = ()

    def __len__(self) -> int:
        return len(self.content)

    @property
    def num_read(self) -> int:
        """The number of rows that were read, those that are left out included."""
        return len(self) + len(self.skipped)

    @property
    def indices(self) -> Int64Array:
        """The index of each row among all rows that were read, shape `[n]`."""
        indices = np.arange(self.num_read)
        return np.delete(indices, [index for index, _ in self.skipped]) if self.skipped else indices

    @property
    def bad(self) -> list[BadRow]:
        """The bad rows."""
        return [row for _, row in self.skipped if isinstance(row, BadRow)]

    @property
    def texts(self) -> Iterator[str]:
        """All texts of the rows."""
        return iter(self.content.texts)

    @classmethod
    def none(cls, *skipped: BadRow | DroppedRow) -> "Rows":
        """Only rows that are left out."""
        return cls(Instructions([], []), np.empty(0, np.int32), np.empty(0, np.int64), tuple(enumerate(skipped)))

    @classmethod
    def joined(cls, first: "Rows", second: "Rows") -> "Rows":
        """The rows of `first`, then the rows of `second`; both have the same kind of content, or one has no row."""
        contents: list[Any] = [rows.content for rows in (first, second) if len(rows)] or [first.content]
        return cls(
            content=contents[0] if len(contents) == 1 else contents[0] + contents[1],
            shards=np.concatenate([first.shards, second.shards]),
            rows=np.concatenate([first.rows, second.rows]),
            skipped=first.skipped + tuple((first.num_read + index, row) for index, row in second.skipped),
        )

    def picked(self, indices: Int64Array) -> "Rows":
        """The rows at `indices`, `[k]`, among all rows that were read, in the given order."""
        by_index = dict(self.skipped)
        skipped = tuple((place, by_index[index]) for place, index in enumerate(indices.tolist()) if index in by_index)
        chosen = np.searchsorted(self.indices, np.delete(indices, [place for place, _ in skipped]))
        return Rows(self.content.picked(chosen), self.shards[chosen], self.rows[chosen], skipped)

    def of_shards_from(self, first_shard: int) -> "Rows":
        """The same rows with `first_shard` added to every shard number."""
        return replace(self, shards=self.shards + np.int32(first_shard)) if first_shard else self


def _picked(values: Sequence[T], indices: Int64Array) -> list[T]:
    return [values[index] for index in indices.tolist()]


def is_blank(text: str) -> bool:
    """Whether a text is empty or consists of white space."""
    return not text or text.isspace()


def has_blank(texts: Sequence[str]) -> bool:
    """Whether a text is blank; much faster than `is_blank` of each text."""
    return not all(texts) or any(map(str.isspace, texts))
