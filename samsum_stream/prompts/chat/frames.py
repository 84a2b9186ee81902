"""Frames: the examples of all conversations of one shape, with slots for their values.

Rendering a conversation of `n` turns takes `2 n` runs of the template. A frame is rendered once for a shape, with
placeholders instead of values, and filled for each conversation. Three rules make this safe:

- A template can decide on more than the shape: it can look for `</think>` in a text. `tracing` finds on what the
  template decides while it runs on the placeholders. Another conversation of the shape for which the decision may be
  another one, or one with a control token, is rendered without a frame.
- A frame is compared with the template on the first conversation that it fills.
- All conversations of every `verify_every`-th chunk are compared, too. Then, a difference is an error.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from samsum_stream.prompts.chat.assembly import Layout, RenderedRow
from samsum_stream.prompts.chat.decisions import Trace
from samsum_stream.prompts.chat.examples import ChatExample
from samsum_stream.prompts.chat.holes import SPACES, Hole, Transform
from samsum_stream.prompts.chat.placeholder_texts import CLOSE, OPEN
from samsum_stream.values.renderings import Segment
from samsum_stream.values.runs import Run

_ESCAPED = repr(OPEN)[1:-1]
"""A placeholder in the `repr` of a dict, which templates write if they do not use `tojson`."""


class Slot(NamedTuple):
    """Where a value goes: its number among the values, and how the template writes it."""

    value: int
    transform: Transform


class FramePiece(NamedTuple):
    """A text with slots: `texts[0] slots[0] texts[1] ...`."""

    texts: tuple[str, ...]
    slots: tuple[Slot, ...]

    @property
    def template(self) -> str:
        """The text with `%s` in each slot."""
        return "%s".join(text.replace("%", "%%") for text in self.texts)

    def filled(self, values: Sequence[Any]) -> str:
        """The text with values in the slots."""
        return self.template % tuple([transform(values[value]) for value, transform in self.slots])

    def segments(self, values: Sequence[Any], *, trained: bool) -> list[Segment]:
        """The same text as segments."""
        segments = [Segment(self.texts[0], from_row=False, trained=trained)]
        for (value, transform), text in zip(self.slots, self.texts[1:], strict=True):
            segments.append(Segment(transform(values[value]), from_row=True, trained=trained))
            segments.append(Segment(text, from_row=False, trained=trained))
        return [segment for segment in segments if segment.text]


class Joint(NamedTuple):
    """A border of a trained turn.

    Attributes:
        left: The text of the template before the border; with slots, if its end alone does not decide.
        right: The text of the template after the border.
        value: The value that follows `right`, if there is one.
    """

    left: FramePiece
    right: str
    value: Slot | None


class Guards(NamedTuple):
    """For which conversations of a shape a frame holds.

    Attributes:
        contained: Texts that no value may contain.
        equal: Texts that no value may be equal to, apart from white space at its edges.
        different: Pairs of texts that must differ.
    """

    contained: tuple[str, ...] = ()
    equal: frozenset[str] = frozenset()
    different: tuple[tuple[FramePiece, FramePiece], ...] = ()

    def allow_texts(self, texts: Iterable[str], joined: str) -> bool:
        """Whether no text decides otherwise; `joined` has all of them."""
        if any(map(joined.__contains__, self.contained)):
            return False
        return not self.equal or self.equal.isdisjoint(map(str.strip, texts))

    def allow_values(self, values: Sequence[Any]) -> bool:
        """Whether the texts that must differ do."""
        return all(one.filled(values) != other.filled(values) for one, other in self.different)


class Frame(NamedTuple):
    """The examples of all conversations of a shape.

    Attributes:
        pieces: The different pieces of all runs.
        layout: How the pieces form the examples.
        runs: The pieces of each run of each example.
        joints: The borders that must be checked for each conversation.
        guards: For which conversations the frame holds.
        events: What was noticed when the frame was made.
        template: The templates of all pieces, joined with `OPEN`, which no value contains.
        slots: The slots of all pieces.
    """

    pieces: tuple[FramePiece, ...]
    layout: Layout
    runs: tuple[tuple[tuple[int, ...], ...], ...]
    joints: tuple[Joint, ...]
    guards: Guards
    events: tuple[tuple[int, str], ...]
    template: str
    slots: tuple[Slot, ...]

    def fill(self, values: Sequence[Any], continuation: Callable[[str, str], str | None]) -> RenderedRow | None:
        """The examples of a conversation; None if a token would cross the border of a turn."""
        for left, literal, slot in self.joints:
            right = literal if slot is None else literal + slot.transform(values[slot.value])
            if continuation(left.filled(values) if left.slots else left.texts[0], right) != right:
                return None
        filled = tuple([transform(values[value]) for value, transform in self.slots])
        return RenderedRow(
            texts=(self.template % filled).split(OPEN),
            layout=self.layout,
            segments=lambda part: self._segments(part, values),
            events=self.events,
        )

    def _segments(self, part: int, values: Sequence[Any]) -> list[Segment]:
        return [
            segment
            for number, run in enumerate(self.runs[part])
            for piece in run
            for segment in self.pieces[piece].segments(values, trained=number % 2 == 1)
        ]


class FrameMaker:
    """Makes frames.

    Args:
        written_in: The control tokens that a text of the template has, in their order.
        barriers: Matches a token before which a text can be cut, so that both parts are encoded separately.
    """

    def __init__(self, written_in: Callable[[str], tuple[str, ...]], barriers: re.Pattern[str]) -> None:
        self._written_in, self._barriers = written_in, barriers

    def make(
        self,
        examples: Sequence[ChatExample],
        holes: Sequence[Hole],
        events: Sequence[tuple[int, str]],
        trace: Trace,
    ) -> Frame | None:
        """The frame of examples with placeholders; None if the template changes a value in an unknown way.

        Args:
            examples: The examples.
            holes: The placeholders.
            events: What was noticed.
            trace: What the template decided.
        """
        candidates = _candidates(holes)
        runs = [[_parsed(text, candidates) for text in example.runs] for example in examples]
        if any(piece is None for of_example in runs for piece in of_example):
            return None
        known = [[piece for piece in of_example if piece is not None] for of_example in runs]
        guards = _guards(trace, candidates)
        if guards is None:
            return None
        joints = [joint for of_example in known for joint in self._joints(of_example)]
        split = [[self._split(piece) for piece in of_example] for of_example in known]
        shared = _merged(split) if len(split) > 1 else [[[piece] for piece in of_example] for of_example in known]
        index_of = {piece: number for number, piece in enumerate(dict.fromkeys(_flat(shared)))}
        indices = tuple(tuple(tuple(index_of[piece] for piece in run) for run in runs) for runs in shared)
        shapes = [tuple(self._run(number, piece) for number, piece in enumerate(of_example)) for of_example in known]
        return Frame(
            pieces=tuple(index_of),
            layout=Layout.of(shapes, [run for runs in indices for run in runs]),
            runs=indices,
            joints=tuple(joints),
            guards=guards,
            events=tuple(events),
            template=OPEN.join(piece.template for piece in index_of),
            slots=tuple(slot for piece in index_of for slot in piece.slots),
        )

    def _joints(self, runs: Sequence[FramePiece]) -> list[Joint]:
        """The borders of all turns but the last that values can change: nothing follows the last turn.

        A value can always change the border before a target, and the border after it only if the value comes first
        there. A value before a border cannot change it from the other side of a barrier.
        """
        joints = []
        for number, (left, right) in enumerate(pairwise(runs[:-1])):
            is_barred = not left.slots or self._barriers.search(left.texts[-1]) is not None
            before = FramePiece(left.texts[-1:], ()) if is_barred else left
            follows = right.slots and (number % 2 == 0 or not right.texts[0].strip())
            if follows or before.slots:
                joints.append(Joint(before, right.texts[0], right.slots[0] if right.slots else None))
        return joints

    def _run(self, number: int, piece: FramePiece) -> Run:
        fixed = tuple(token for text in piece.texts for token in self._written_in(text))
        return Run(trained=number % 2 == 1, continues=number > 0, fixed=fixed)

    def _split(self, piece: FramePiece) -> list[FramePiece]:
        """The piece, cut before each barrier in its literals."""
        pieces, texts, slots = [], [""], list[Slot]()
        for number, text in enumerate(piece.texts):
            if number:
                slots.append(piece.slots[number - 1])
                texts.append("")
            start = 0
            for match in self._barriers.finditer(text):
                texts[-1] += text[start : match.start()]
                start = match.start()
                if slots or texts[-1]:
                    pieces.append(FramePiece(tuple(texts), tuple(slots)))
                    texts, slots = [""], []
            texts[-1] += text[start:]
        return [*pieces, FramePiece(tuple(texts), tuple(slots))]


def _flat(examples: Sequence[Sequence[Sequence[FramePiece]]]) -> list[FramePiece]:
    return [piece for runs in examples for run in runs for piece in run]


def _merged(examples: Sequence[Sequence[Sequence[FramePiece]]]) -> list[list[list[FramePiece]]]:
    """The pieces of each run, with those joined that always follow each other: fewer pieces take less time."""
    after: dict[FramePiece, set[FramePiece | None]] = {}
    before: dict[FramePiece, set[FramePiece | None]] = {}
    for run in (run for runs in examples for run in runs):
        for one, other in zip([None, *run], [*run, None], strict=True):
            if one is not None:
                after.setdefault(one, set()).add(other)
            if other is not None:
                before.setdefault(other, set()).add(one)
    return [[_merged_run(run, after, before) for run in runs] for runs in examples]


def _merged_run(
    run: Sequence[FramePiece],
    after: dict[FramePiece, set[FramePiece | None]],
    before: dict[FramePiece, set[FramePiece | None]],
) -> list[FramePiece]:
    merged = [run[0]]
    for one, other in pairwise(run):
        if after[one] == {other} and before[other] == {one}:
            merged[-1] = _joined(merged[-1], other)
        else:
            merged.append(other)
    return merged


def _joined(one: FramePiece, other: FramePiece) -> FramePiece:
    middle = one.texts[-1] + other.texts[0]
    return FramePiece((*one.texts[:-1], middle, *other.texts[1:]), one.slots + other.slots)


def _guards(trace: Trace, candidates: "dict[str, list[_Candidate]]") -> Guards | None:
    """The guards of a trace; None if they have a placeholder in an unknown form."""
    pairs = []
    for one, other in sorted(trace.different):
        left, right = _parsed(one, candidates), _parsed(other, candidates)
        if left is None or right is None:
            return None
        pairs.append((left, right))
    return Guards(tuple(sorted(trace.contained)), frozenset(trace.equal), tuple(pairs))


class _Candidate(NamedTuple):
    """A text that a template can write for a placeholder.

    Attributes:
        text: The text.
        offset: The position of the first marker in the text.
        slot: The slot that replaces the text.
    """

    text: str
    offset: int
    slot: Slot


def _candidates(holes: Sequence[Hole]) -> dict[str, list[_Candidate]]:
    """The texts that a template can write for the placeholders, by their first marker; the longest first."""
    candidates: dict[str, list[_Candidate]] = {}
    for number, hole in enumerate(holes):
        value = hole.value if isinstance(hole.value, str) else json.dumps(hole.value, ensure_ascii=False)
        for text, transform in _written(value, isinstance(hole.value, str), hole.transforms):
            offset = text.index(OPEN)
            marker = text[offset : text.index(CLOSE) + 1]
            candidates.setdefault(marker, []).append(_Candidate(text, offset, Slot(number, transform)))
    for texts in candidates.values():
        texts.sort(key=lambda candidate: -len(candidate.text))
    return candidates


@lru_cache(4096)
def _written(value: str, is_text: bool, transforms: tuple[Transform, ...]) -> list[tuple[str, Transform]]:
    """The different texts that templates write for a placeholder; a value that is no text is given as JSON."""
    placeholder = value if is_text else json.loads(value)
    texts = {transform(placeholder): transform for transform in reversed(transforms)}
    return [(text, transform) for text, transform in texts.items() if OPEN in text]


def _leaves_edges(text: str, first: int, written: str) -> bool:
    """Whether the white space beside a stripped placeholder may be what is left of its edges."""
    end = first + len(written)
    before, after = text[max(first - len(SPACES), 0) : first], text[end : end + len(SPACES)]
    return (before == SPACES and not written[0].isspace()) or (after == SPACES and not written[-1].isspace())


def _parsed(text: str, candidates: dict[str, list[_Candidate]]) -> FramePiece | None:
    """A text of the template as literals and slots; None if it has a placeholder in an unknown form."""
    texts, slots, start = [], list[Slot](), 0
    while (at := text.find(OPEN, start)) >= 0:
        for candidate in candidates.get(text[at : text.find(CLOSE, at) + 1], ()):
            first = at - candidate.offset
            if first >= start and text.startswith(candidate.text, first):
                if _leaves_edges(text, first, candidate.text):
                    return None
                texts.append(text[start:first])
                slots.append(candidate.slot)
                start = first + len(candidate.text)
                break
        else:
            return None
    texts.append(text[start:])
    is_known = not any(CLOSE in literal or _ESCAPED in literal for literal in texts)
    return FramePiece(tuple(texts), tuple(slots)) if is_known else None
