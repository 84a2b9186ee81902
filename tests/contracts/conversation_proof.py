"""Compares the examples of a stream with C1, and counts by clause what differs.

prefix     the ids before a trained span are not those of the prompt of a turn
target     the ids of a trained span are not those of the target of its turn, or do not end with an added token
labels     another token is trained
error      the package raised an error
missing    a turn is neither trained nor counted, or trained twice, or counted for another reason
grouping   the row has other examples than the fewest that stay exact
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from samsum_stream import IGNORE_INDEX, SFTStream
from samsum_stream.values.conversations import Conversation
from samsum_stream.values.examples import Chunk, Example
from samsum_stream.values.rows import Conversations, RowPosition, Rows
from tests.contracts.conversation_oracle import SPLICED, Expected, Oracle, examples_of
from tests.contracts.conversations import Row, num_turns

CLAUSES = ("prefix", "target", "labels", "missing", "grouping", "error")
CHUNK = 16


class Violation(NamedTuple):
    """A broken clause: the row, the message if one is known, and what was expected and found."""

    clause: str
    row: int
    message: int
    details: str


@dataclass
class Report:
    """What a proof counted.

    Attributes:
        counts: `rows`, `turns`, `trained`, `examples`, `rows_split`, `spliced`, and the names of `stats.counts`.
        violations: The broken clauses.
        words: The messages of the rows that cannot be rendered, one for each reason.
    """

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)

    def __add__(self, other: "Report") -> "Report":
        return Report(self.counts + other.counts, [*self.violations, *other.violations], {**other.words, **self.words})

    @property
    def broken(self) -> Counter[str]:
        """The number of violations of each clause."""
        return Counter(violation.clause for violation in self.violations)


def prove(stream: SFTStream, rows: Sequence[Row]) -> Report:
    """Compare the examples of all rows of a stream with C1; `rows` are the rows of the stream as they were given."""
    source, faults, oracle, report = stream.pipeline.source, stream.pipeline.faults, Oracle(stream), Report()
    for start in range(0, len(rows), CHUNK):
        try:
            taken = faults.take(source.take, np.arange(start, min(start + CHUNK, len(rows))))
            report = report + prove_rows(stream, oracle, taken, rows)
        except Exception as error:  # a crash of the package is a result of the proof, like any other
            report.violations.append(Violation("error", start, -1, f"{type(error).__name__}: {error}"))
    if oracle.words:
        report.words["template_refuses"] = oracle.words
    return report


def prove_rows(stream: SFTStream, oracle: Oracle, taken: Rows, rows: Sequence[Row]) -> Report:
    """Compare the examples of some rows with C1."""
    report, encoder = Report(), stream.pipeline.encoder
    encoded = encoder.encode(taken, epoch=0)
    numbers = np.searchsorted(encoded.offsets, [outcome.example for outcome in encoded.outcomes], side="right") - 1
    names = defaultdict[int, Counter[str]](Counter)
    for number, outcome in zip(numbers.tolist(), encoded.outcomes, strict=True):
        names[number][outcome.name] += 1
        report.counts[outcome.name] += 1
    if any(name.startswith("skipped.") for name in report.counts):
        report.words |= {problem.reason: problem.text for problem in encoder.renderer.render(taken).problems.values()}
    report.counts["rows"] += taken.num_read
    if not len(taken):
        return report
    assert isinstance(taken.content, Conversations)
    examples = examples_by_row(encoded.chunk)
    for index, (number, row, conversation) in enumerate(
        zip(taken.indices.tolist(), taken.rows.tolist(), taken.content.conversations, strict=True)
    ):
        report.counts["turns"] += len(conversation.trained_turns)
        if len(conversation.trained_turns) != num_turns(rows[row]):
            report.violations.append(Violation("missing", row, -1, "the row has another number of assistant turns"))
        if not any(name.startswith("skipped.") for name in names[number]):
            report.counts["examples"] += len(examples[index])
            report.counts["rows_split"] += len(examples[index]) > 1
            found = check(oracle, conversation, examples[index], names[number], report.counts)
            report.violations += [Violation(clause, row, message, details) for clause, message, details in found]
    return report


def examples_by_row(chunk: Chunk) -> dict[int, list[Example]]:
    """The examples of each row, by the index of the row."""
    spans = iter(np.split(chunk.spans, np.cumsum(chunk.records["num_spans"])[:-1]) if len(chunk) else ())
    examples = defaultdict[int, list[Example]](list)
    for row, ids in zip(chunk.rows.tolist(), chunk.tokens.split(), strict=True):
        examples[row].append(Example(ids, next(spans), RowPosition("", "", row, 0)))
    return examples


def check(
    oracle: Oracle,
    conversation: Conversation,
    examples: Sequence[Example],
    names: Counter[str],
    counts: Counter[str],
) -> Iterator[tuple[str, int, str]]:
    """What differs for one conversation: the clause, the message and the details."""
    turns = oracle.turns(conversation)
    expected = {turn.message: turn for turn in turns if isinstance(turn, Expected)}
    counts["spliced"] += sum(turn.way == SPLICED for turn in expected.values())
    trained: Counter[int] = Counter()
    for example in examples:
        yield from check_example(oracle, example, expected, trained)
    counts["trained"] += sum(trained.values())
    for message in expected:
        if trained[message] != 1:
            yield "missing", message, f"trained {trained[message]} times"
    wanted = Counter(f"turns.{reason}" for _, reason in (turn for turn in turns if not isinstance(turn, Expected)))
    wanted += Counter(
        f"turns.thinking_{'on' if turn.thinking else 'off'}" for turn in expected.values() if turn.thinking is not None
    )
    if not expected:
        wanted["dropped.no_trained_token"] += 1
    if conversation.num_removed:
        wanted["turns.after_last_turn"] += 1
    others = Counter({name: n for name, n in names.items() if name.startswith(("turns.", "dropped.", "skipped."))})
    if others != wanted:
        yield "missing", -1, f"counted {dict(others)}, expected {dict(wanted)}"
    if [example.input_ids.tolist() for example in examples] != (fewest := examples_of([*expected.values()])):
        yield "grouping", -1, f"{len(examples)} examples, expected {len(fewest)}"


def check_example(
    oracle: Oracle, example: Example, expected: dict[int, Expected], trained: Counter[int]
) -> Iterator[tuple[str, int, str]]:
    """What differs for one example; counts each turn that it trains."""
    decode, ids = oracle.tokenizer.decode, example.input_ids.tolist()
    labels = [IGNORE_INDEX] * len(ids)
    last = -1
    for start, end in example.spans.tolist():
        candidates = [turn for turn in expected.values() if turn.message > last and turn.prompt_ids == ids[:start]]
        if not candidates:
            yield "prefix", last, f"no turn has the prompt {decode(ids[:start])[-160:]!r} | {decode(ids[start:end])!r}"
            continue
        turn = next((turn for turn in candidates if turn.target_ids == ids[start:end]), candidates[0])
        last = turn.message
        trained[last] += 1
        if turn.target_ids != ids[start:end]:
            yield "target", last, f"expected {decode(turn.target_ids)!r}, got {decode(ids[start:end])!r}"
        if ids[end - 1] not in oracle.added_ids:
            yield "target", last, f"the end of {decode(ids[start:end])!r} is no stop token"
        labels[start:end] = ids[start:end]
    if example.labels.tolist() != labels:
        yield "labels", last, "the trained tokens are not those of the spans"
