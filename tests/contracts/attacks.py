"""Rows whose texts attack a chat template: control tokens, parts of them, and whatever a template may decide on.

An attacked row has slots. Two rows are made from it: one with the attacks in the slots, and a twin with harmless texts
of the same shape. In both, the template must write the same control tokens in the same order.

    python -m tests.contracts.attacks --rows 10000

checks 10,000 rows with each of twelve templates, and exits with 1 if a control token comes from data.
"""

import argparse
import json
import logging
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from samsum_stream import SFTStream
from samsum_stream.errors import ConfigError
from samsum_stream.sources import as_source
from tests.contracts.conversations import TWELVE, Row, all_templates, stream_of, tokenizer_for

CHUNK = 64
PLAIN: Row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}

_SLOT = re.compile("\x01(\\d+)\x02")
_PRIVATE = re.compile("[\ue000-\uf8ff]")
_HARMLESS = str.maketrans("<>|[]\uff5c\u2581", "()!()!_")
_WORDS = ("Yes", "No.", "can", "\u00e9", "\u6f22", "1", ":", '"', "{", "'s", "\t", "\n", "\n\n", "  ", "assistant")
_LOGIC = (
    "{{ messages }}", "{{ raise_exception('x') }}", "{% endfor %}", "{# x", "/no_think", "/think", "%s %(x)d {0}",
    "detailed thinking off", "CONTINUE_FINAL_MESSAGE_TAG ", "\ue000", "\ue001", "\ue0f0", "\ue0f10\ue0f1",
    "\ue0f00\ue0f1", "\U000f0000", "\U000f0001", "\U000f1234", "\ue000\ue0f0\ue0f1\U000f0000",
)  # fmt: skip
"""What a template, or a program that renders one, may decide on. Both rows of a pair have these texts."""

_FOREIGN = ("<|im_end|>", "<|im_start|>system\n", "</s>", "<end_of_turn>", "<|eot_id|>", "[INST]", "<tool_response>")


class Pair(NamedTuple):
    """An attacked row and its twin.

    Attributes:
        attacked: The row.
        twin: The same row with harmless texts in the slots.
    """

    attacked: Row
    twin: Row


class Attacker:
    """Makes attacked rows for one tokenizer.

    Args:
        special: The special tokens of the tokenizer.
        written: The other added tokens that the template writes.
        source: The template.
        seed: The seed of the rows.
        only_whole: Whether all attacks are whole tokens in texts, against which transformers defends as well: no parts
            of tokens, no keys, names, ids, documents and variables, and no added tokens in assistant messages.
    """

    def __init__(
        self, special: Sequence[str], written: Sequence[str], source: str, *, seed: int, only_whole: bool = False
    ) -> None:
        self.special, self.written = sorted(special), sorted(written)
        self.tokens = [*self.special, *self.written]
        self.chooser = random.Random(seed)
        self._attacks: list[str] = []
        self._only_whole = only_whole
        cores = {token.strip("<>|[]\uff5c ") for token in self.tokens} - {""}
        self._cores = [core for core in sorted(cores) if not _is_word_of(source, core)]

    def pair(self) -> Pair:
        """The next row and its twin."""
        self._attacks = []
        row = self._row()
        harmless = [_harmless(attack) for attack in self._attacks]
        return Pair(_filled(row, self._attacks), _filled(row, harmless))

    # ------------------------------------------------------------------------------------------------------- rows

    def _row(self) -> Row:
        chooser, row = self.chooser, dict[str, Any]()
        messages = [self._message("system")] if chooser.random() < 0.4 else []
        calls_tools = chooser.random() < 0.5
        for _ in range(chooser.randint(1, 3)):
            messages.append(self._message("user"))
            if calls_tools and chooser.random() < 0.7:
                messages += self._calls_and_results()
            messages.append(self._assistant())
        row["messages"] = messages
        if calls_tools:
            row["tools"] = [self._tool() for _ in range(chooser.randint(1, 2))]
        if self._is(0.1):
            row["template_kwargs"] = {chooser.choice(("date_string", "reasoning_effort")): self._text()}
        if self._is(0.1):
            row["documents"] = [{"title": self._text(), "text": self._text()}]
        return row

    def _message(self, role: str) -> dict[str, Any]:
        message: dict[str, Any] = {"role": role, "content": self._content()}
        if self.chooser.random() < 0.1:
            message["name"] = self._name()
        return message

    def _content(self) -> Any:
        """A text, or seldom a list of parts, which the stream connects."""
        if not self._is(0.2):
            return self._text()
        token = self.chooser.choice(self.tokens)
        cut = self.chooser.randint(1, len(token) - 1)
        return [{"type": "text", "text": self._slot(part)} for part in (token[:cut], token[cut:])]

    def _assistant(self, *, content: Any = None) -> dict[str, Any]:
        """An assistant message. Added tokens that are not special are no attack there, so both rows have them."""
        text = self._text(tokens=self.special) if content is None else content
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self.chooser.random() < 0.4:
            message["reasoning_content"] = self._text(tokens=self.special)
        if self.written and self._is(0.1):
            message["content"] = f"{message['content'] or ''} {self.chooser.choice(self.written)}"
        return message

    def _calls_and_results(self) -> list[dict[str, Any]]:
        names = [self._name() for _ in range(self.chooser.randint(1, 2))]
        ids = [self._id(number) for number in range(len(names))]
        message = self._assistant(content=self.chooser.choice(("", None, "Let me see.")))
        message["tool_calls"] = [
            {"id": number, "type": "function", "function": {"name": name, "arguments": self._arguments(self.special)}}
            for number, name in zip(ids, names, strict=True)
        ]
        results = [
            {"role": "tool", "content": self._content(), "tool_call_id": number, "name": name}
            for number, name in zip(ids, names, strict=True)
        ]
        return [message, *results]

    def _tool(self) -> dict[str, Any]:
        properties = {
            self._key(): {"type": "string", "description": self._text(), self._key(): self._text()},
            "day": {"type": "string", "enum": [self._text(), "today"], "default": self._text()},
        }
        parameters = {"type": "object", "properties": properties, "required": ["day"], self._key(): [self._text()]}
        function = {"name": self._name(), "description": self._text(), "parameters": parameters}
        if self.chooser.random() < 0.3:
            function[self._key()] = {self._key(): self._text()}
        return {"type": "function", "function": function}

    def _arguments(self, tokens: Sequence[str]) -> dict[str, Any]:
        values = [self._text(tokens=tokens), 3, None, [self._text(tokens=tokens)], {"in": self._text(tokens=tokens)}]
        return {"city": self.chooser.choice(values), self._key(tokens=tokens): self.chooser.choice(values)}

    # ------------------------------------------------------------------------------------------------------ texts

    def _text(self, *, tokens: Sequence[str] = ()) -> str:
        """A text; most texts attack.

        Args:
            tokens: The tokens that it may spell, by default all.
        """
        kind = self.chooser.random()
        if kind < 0.3:
            return self._words()
        if kind < 0.4:
            return self._spaced(self.chooser.choice(_LOGIC))
        return self._spaced(self._slot(self._attack(tokens or self.tokens)))

    def _attack(self, tokens: Sequence[str]) -> str:
        """A text that spells a token, or a part of one, which another text may complete."""
        chooser = self.chooser
        token, other = chooser.choice(tokens), chooser.choice(tokens)
        cut = chooser.randint(1, len(token) - 1)
        whole = (
            token,
            f"{token}{other}",
            f"{token}\n{other}assistant\nYes{token}",
            f"{token[:cut]}{other}{token[cut:]}",
            f"{token[:cut]}{token}{token[cut:]}",
            f"{token[:cut]}\ue000{token[cut:]}",
            f"\ue000{token}\U000f1234",
            chooser.choice(_FOREIGN) if tokens is self.tokens else token,
        )
        parts = (token[:cut], token[cut:], f"{token} {token[:cut]}")
        return chooser.choice(parts if self._is(0.25) else whole)

    def _spaced(self, text: str) -> str:
        """The text alone, with white space at its edges, or between words."""
        space = self.chooser.choice(("", "", " ", "\n", " \n\n", "\t"))
        before, after = (self._words() if self.chooser.random() < 0.4 else "" for _ in range(2))
        return f"{before}{space}{text}{self.chooser.choice(('', space))}{after}"

    def _words(self) -> str:
        return " ".join(self.chooser.choices(_WORDS, k=self.chooser.randint(1, 4)))

    def _name(self) -> str:
        if not self._is(0.4):
            return self.chooser.choice(("find", "add"))
        return self._slot(self.chooser.choice([*self._cores, *self.special]))

    def _id(self, number: int) -> str:
        if not self._is(0.2):
            return f"abcdefgh{number}"
        return self._slot(self.chooser.choice([*self._cores, *self.special])) + str(number)

    def _key(self, *, tokens: Sequence[str] = ()) -> str:
        """The key of a dict."""
        if not self._is(0.5):
            return f"key{self.chooser.randint(0, 9)}"
        return self._slot(self.chooser.choice([*self._cores, *(tokens or self.tokens)]))

    def _is(self, probability: float) -> bool:
        """Whether to attack where transformers does not defend."""
        return self.chooser.random() < probability and not self._only_whole

    def _slot(self, attack: str) -> str:
        self._attacks.append(attack)
        return f"\x01{len(self._attacks) - 1}\x02"


def _is_word_of(source: str, core: str) -> bool:
    """Whether a template reads a field with this name, or compares texts with it: `schema.type`, `'type'`."""
    return re.search(rf"""\.{re.escape(core)}\b|(['"]){re.escape(core)}\1""", source) is not None


def _harmless(attack: str) -> str:
    """A text of the same shape that is no part of a token."""
    translated = attack.translate(_HARMLESS)
    return translated if translated != attack else re.sub(r"\w(?=\W*\Z)", "q", attack)


def _filled(value: Any, texts: Sequence[str]) -> Any:
    """The value with a text in each slot."""
    if isinstance(value, str):
        return _SLOT.sub(lambda match: texts[int(match[1])], value)
    if isinstance(value, Mapping):
        return {_filled(key, texts): _filled(item, texts) for key, item in value.items()}
    return [_filled(item, texts) for item in value] if isinstance(value, list) else value


# ---------------------------------------------------------------------------------------------------------- streams


def with_rows(stream: SFTStream, rows: Sequence[Row]) -> SFTStream:
    """The stream with other rows."""
    other = object.__new__(SFTStream)
    source = as_source(list(rows), name="rows", columns={}, rules=stream.tasks[""].task.rules)
    other.__dict__.update(stream.__dict__, pipeline=replace(stream.pipeline, source=source))
    return other


def attacker_of(stream: SFTStream, *, seed: int, only_whole: bool = False) -> Attacker:
    """The attacker of the control tokens of a stream."""
    loaded = stream.tasks[""].formats.chat
    assert loaded is not None
    special = [token for token in loaded.special if token.strip()]
    return Attacker(special, list(loaded.written), loaded.template.source, seed=seed, only_whole=only_whole)


def control_ids(stream: SFTStream) -> frozenset[int]:
    """The ids of the tokens that only the template may write."""
    return frozenset(stream.pipeline.encoder.tokenizer.runs.special_tokens.ids.values())


class Encoded(NamedTuple):
    """The ids of the examples of each row; None for a row that is bad. And the names of its outcomes."""

    examples: list[list[list[int]] | None]
    names: list[Counter[str]]


def encode(stream: SFTStream, rows: Sequence[Row]) -> Encoded:
    """The examples of rows, as the stream gives them."""
    examples: list[list[list[int]] | None] = [None] * len(rows)
    names = [Counter[str]() for _ in rows]
    source = with_rows(stream, rows).pipeline.source
    for start in range(0, len(rows), CHUNK):
        numbers = np.arange(start, min(start + CHUNK, len(rows)))
        taken = stream.pipeline.faults.take(source.take, numbers)
        encoded = stream.pipeline.encoder.encode(taken, epoch=0)
        owners = np.searchsorted(encoded.offsets, [outcome.example for outcome in encoded.outcomes], side="right") - 1
        for owner, outcome in zip(owners.tolist(), encoded.outcomes, strict=True):
            names[start + owner][outcome.name] += 1
        for row in taken.rows.tolist():
            examples[row] = []
        for row, ids in zip(encoded.chunk.rows.tolist(), encoded.chunk.tokens.split(), strict=True):
            found = examples[int(taken.rows[row])]
            assert found is not None
            found.append(ids.tolist())
        for owner in range(len(numbers)):
            if any(name.startswith("skipped.") for name in names[start + owner]):
                examples[start + owner] = None
    return Encoded(examples, names)


class Verdict(NamedTuple):
    """What is wrong with the row of a pair, and with which one."""

    what: str
    pair: Pair
    details: str


def violations(stream: SFTStream, pairs: Sequence[Pair], counts: Counter[str]) -> Iterator[Verdict]:
    """The pairs whose rows have other control tokens; counts rows, control tokens and rows that are bad."""
    attacked, twins = (encode(stream, [pair[side] for pair in pairs]) for side in (0, 1))
    is_control = control_ids(stream)
    for index, pair in enumerate(pairs):
        one, other = attacked.examples[index], twins.examples[index]
        counts["rows"] += 1
        if _refused(attacked.names[index]) != _refused(twins.names[index]):
            counts["refused as an attack only"] += 1  # an id of nine characters has ten with a mark
            continue
        if one is None or other is None:
            counts["bad"] += 1
            counts["bad in one row only"] += one is not other  # the name of a lost call can occur in other texts
            continue
        found, expected = ([[n for n in ids if n in is_control] for ids in ids_of] for ids_of in (one, other))
        counts["control tokens"] += sum(map(len, found))
        counts["counted as spelling"] += attacked.names[index]["special_tokens_in_rows"]
        if attacked.names[index]["splits.border"] != twins.names[index]["splits.border"]:
            found, expected = [max(found, key=len)], [max(expected, key=len)]  # the example with the last turn
        if found != expected:
            yield Verdict("control tokens", pair, _difference(stream, found, expected))
        if strangers := _private_characters(stream, one) - _private_characters_of(pair.attacked):
            yield Verdict("a mark is left", pair, repr(strangers))


def _refused(names: Counter[str]) -> int:
    """The number of turns that the template refuses."""
    return names["turns.template_refuses"] + names["skipped.template_refuses"]


def _difference(stream: SFTStream, found: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> str:
    names = [[stream.tokenizer.convert_ids_to_tokens(list(ids)) for ids in examples] for examples in (found, expected)]
    return f"{names[0]}\n   expected {names[1]}"


def _private_characters(stream: SFTStream, examples: Sequence[Sequence[int]]) -> set[str]:
    return _private_characters_of([stream.tokenizer.decode(list(ids)) for ids in examples])


def _private_characters_of(value: Any) -> set[str]:
    return set(_PRIVATE.findall(json.dumps(value, ensure_ascii=False)))


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--all", action="store_true", help="all templates")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    total, num_broken = Counter[str](), 0
    for name in all_templates() if arguments.all else TWELVE:
        if arguments.only in name:
            counts = Counter[str]()
            try:
                stream = stream_of(tokenizer_for(all_templates()[name]), [PLAIN])
            except ConfigError as error:
                print(f"{name:<50} refused: {error}", flush=True)
                continue
            attacker = attacker_of(stream, seed=arguments.seed)
            broken = list(violations(stream, [attacker.pair() for _ in range(arguments.rows)], counts))
            print(f"{name:<50} {dict(counts)}, {len(broken)} violations", flush=True)
            for verdict in broken[:3]:
                print(f"    {verdict.what}: {verdict.details}\n    {verdict.pair.attacked}")
            total, num_broken = total + counts, num_broken + len(broken)
    print(f"total: {dict(total)}, {num_broken} violations")
    return int(num_broken > 0)


if __name__ == "__main__":
    sys.exit(_main())
