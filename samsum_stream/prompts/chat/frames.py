"""Frames: the examples of all conversations of one shape, with slots for their values.

Rendering a conversation of `n` turns takes `2 n` runs of the template. A frame is rendered once for a shape, with
placeholders instead of values, and filled for each conversation. Three rules make this safe:

- A template can decide on more than the shape: it can look for `</think>` in a text. `tracing` finds on what the
  template decides while it runs on the placeholders. Another conversation of the shape for which the decision may be
  another one, or one with a control token, is rendered without a frame.
- A frame is compared with the template on the first conversation that it fills.
- All conversations of every `verify_every`-th chunk are compared, too. Then, a difference is an error.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from samsum_stream.prompts.chat.assembly import Layout, RenderedRow
from samsum_stream.prompts.chat.decisions import Trace
from samsum_stream.prompts.chat.examples import ChatExample, Continuation
from samsum_stream.prompts.chat.holes import Hole
from samsum_stream.prompts.chat.placeholder_texts import OPEN
from samsum_stream.prompts.chat.slots import Candidate, Slot, SlotText, candidates_of, parsed
from samsum_stream.values.renderings import Segment
from samsum_stream.values.runs import Run


class Joint(NamedTuple):
    """A border of a trained turn.

    Attributes:
        left: The text of the template before the border; with slots, if its end alone does not decide.
        right: The text of the template after the border.
        value: The value that follows `right`, if there is one.
        follows_turn: Whether the border is the end of the turn, and not its start.
    """

    left: SlotText
    right: str
    value: Slot | None
    follows_turn: bool


class Guards(NamedTuple):
    """For which conversations of a shape a frame holds.

    Attributes:
        contained: Texts that no value may contain.
        equal: Texts that no value may be equal to, apart from white space at its edges.
        different: Pairs of texts that must differ.
    """

    contained: tuple[str, ...] = ()
    equal: frozenset[str] = frozenset()
    different: tuple[tuple[SlotText, SlotText], ...] = ()

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

    pieces: tuple[SlotText, ...]
    layout: Layout
    runs: tuple[tuple[tuple[int, ...], ...], ...]
    joints: tuple[Joint, ...]
    guards: Guards
    events: tuple[tuple[int, str], ...]
    template: str
    slots: tuple[Slot, ...]

    def fill(self, values: Sequence[Any], continuation: Continuation) -> RenderedRow | None:
        """The examples of a conversation; None if a token would cross the border of a turn."""
        for left, literal, slot, follows_turn in self.joints:
            right = literal if slot is None else literal + slot.transform(values[slot.value])
            before = left.filled(values) if left.slots else left.texts[0]
            if continuation(before, right, follows_turn=follows_turn) != right:
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
        candidates = candidates_of(holes)
        runs = [[parsed(text, candidates) for text in example.runs] for example in examples]
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

    def _joints(self, runs: Sequence[SlotText]) -> list[Joint]:
        """The borders of all turns but the last that values can change: nothing follows the last turn.

        A value can always change the border before a target, and the border after it only if the value comes first
        there. A value before a border cannot change it from the other side of a barrier.
        """
        joints = []
        for number, (left, right) in enumerate(pairwise(runs[:-1])):
            is_barred = not left.slots or self._barriers.search(left.texts[-1]) is not None
            before = SlotText(left.texts[-1:], ()) if is_barred else left
            follows = right.slots and (number % 2 == 0 or not right.texts[0].strip())
            if follows or before.slots:
                value = right.slots[0] if right.slots else None
                joints.append(Joint(before, right.texts[0], value, follows_turn=number % 2 == 1))
        return joints

    def _run(self, number: int, piece: SlotText) -> Run:
        fixed = tuple(token for text in piece.texts for token in self._written_in(text))
        return Run(trained=number % 2 == 1, continues=number > 0, fixed=fixed)

    def _split(self, piece: SlotText) -> list[SlotText]:
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
                    pieces.append(SlotText(tuple(texts), tuple(slots)))
                    texts, slots = [""], []
            texts[-1] += text[start:]
        return [*pieces, SlotText(tuple(texts), tuple(slots))]


def _flat(examples: Sequence[Sequence[Sequence[SlotText]]]) -> list[SlotText]:
    return [piece for runs in examples for run in runs for piece in run]


def _merged(examples: Sequence[Sequence[Sequence[SlotText]]]) -> list[list[list[SlotText]]]:
    """The pieces of each run, with those joined that always follow each other: fewer pieces take less time."""
    after: dict[SlotText, set[SlotText | None]] = {}
    before: dict[SlotText, set[SlotText | None]] = {}
    for run in (run for runs in examples for run in runs):
        for one, other in zip([None, *run], [*run, None], strict=True):
            if one is not None:
                after.setdefault(one, set()).add(other)
            if other is not None:
                before.setdefault(other, set()).add(one)
    return [[_merged_run(run, after, before) for run in runs] for runs in examples]


def _merged_run(
    run: Sequence[SlotText],
    after: dict[SlotText, set[SlotText | None]],
    before: dict[SlotText, set[SlotText | None]],
) -> list[SlotText]:
    merged = [run[0]]
    for one, other in pairwise(run):
        if after[one] == {other} and before[other] == {one}:
            merged[-1] = _joined(merged[-1], other)
        else:
            merged.append(other)
    return merged


def _joined(one: SlotText, other: SlotText) -> SlotText:
    middle = one.texts[-1] + other.texts[0]
    return SlotText((*one.texts[:-1], middle, *other.texts[1:]), one.slots + other.slots)


def _guards(trace: Trace, candidates: dict[str, list[Candidate]]) -> Guards | None:
    """The guards of a trace; None if they have a placeholder in an unknown form."""
    pairs = []
    for one, other in sorted(trace.different):
        left, right = parsed(one, candidates), parsed(other, candidates)
        if left is None or right is None:
            return None
        pairs.append((left, right))
    return Guards(tuple(sorted(trace.contained)), frozenset(trace.equal), tuple(pairs))
