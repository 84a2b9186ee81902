"""Compares the masks of TRL's training templates with what inference sees, turn by turn.

    python -m tests.contracts.full_masks

For each template of the `trl` package that has a training twin with generation tags, a turn of the twin is compared
with the prompt and the target of the template that inference uses. A difference has one or more of these classes:

    context       the tokens before the turn are not those of the prompt
    starts_early  the turn trains tokens that the prompt provides
    starts_late   the turn leaves out tokens that the model must write
    ends_late     the turn trains tokens after its stop token
    ends_early    the turn does not train its stop token
    drops         the template drops the reasoning of the turn in silence
    other_text    the trained text is another one than the template writes in final position

The same turns from this package have the tokens of the prompt, and the tokens of the target, by the contract (C1).
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.contracts.conversations import stream_of, tokenizer_for

REASON = "The user asks."
PLAIN = [
    {"role": "user", "content": "Hi, who are you?"},
    {"role": "assistant", "content": "A small robot."},
    {"role": "user", "content": "What can you do?"},
    {"role": "assistant", "content": "I can count to ten."},
]
REASONING = [
    {**message, "reasoning_content": REASON} if message["role"] == "assistant" else message for message in PLAIN
]
CONVERSATIONS = {"plain": PLAIN, "reasoning": REASONING}


def templates() -> Iterator[tuple[str, str, str]]:
    """The name, the template for inference and the training twin of each family of the `trl` package."""
    spec = find_spec("trl")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "chat_templates"
    for path in sorted(folder.glob("*_training.jinja")):
        original = path.with_name(path.name.replace("_training", ""))
        if original.is_file():
            yield original.stem, original.read_text(encoding="utf-8"), path.read_text(encoding="utf-8")


def spans_of(mask: Sequence[int]) -> list[tuple[int, int]]:
    """The runs of ones."""
    borders = np.flatnonzero(np.diff([0, *mask, 0]))
    return [(int(start), int(end)) for start, end in borders.reshape(-1, 2)]


def classes(context: str, trained: str, prompt: str, target: str) -> list[str]:
    """The classes of a turn: its text, and the text before it, against the prompt and the target."""
    if (context, trained) == (prompt, target):
        return ["same"]
    found = []
    whole, start, expected = context + trained, len(context), len(prompt)
    if not whole.startswith(prompt) and not prompt.startswith(context):
        found.append("context")
    elif start < expected:
        found.append("starts_early")
    elif start > expected:
        found.append("starts_late")
    rest = whole[expected:] if whole.startswith(prompt) else trained
    if REASON in target and REASON not in whole:
        found.append("drops")
    elif rest != target:
        found.append(
            "ends_late" if rest.startswith(target) else "ends_early" if target.startswith(rest) else "other_text"
        )
    return found


def compare(name: str, original: str, training: str, messages: list[dict[str, Any]]) -> list[list[str]]:
    """The classes of each assistant turn of a conversation; raises if a template refuses it."""
    tokenizer = tokenizer_for(original, real=True)
    encoded = tokenizer.apply_chat_template(
        messages, chat_template=training, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, spans = encoded["input_ids"], spans_of(encoded["assistant_masks"])
    turns = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    expected = dict(zip(turns, ours(tokenizer, messages), strict=False))
    if len(spans) != len(turns):
        return [["no_mask"]] * len(turns)
    decode = tokenizer.decode
    return [
        classes(decode(ids[:start]), decode(ids[start:end]), *expected[turn])
        for turn, (start, end) in zip(turns, spans, strict=True)
    ]


def ours(tokenizer: Any, messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The text before each trained turn, and the text of the turn, as this package trains it."""
    stream = stream_of(tokenizer, [{"messages": messages}])
    return [
        (tokenizer.decode(example.input_ids[:start]), tokenizer.decode(example.input_ids[start:end]))
        for pack in stream
        for example in pack.examples
        for start, end in example.spans.tolist()
    ]


def main() -> int:
    """Print the classes of each template and conversation, and their totals."""
    totals: Counter[str] = Counter()
    for name, original, training in templates():
        for kind, messages in CONVERSATIONS.items():
            try:
                found = compare(name, original, training, messages)
            except Exception as error:
                print(f"{name:28} {kind:10} {type(error).__name__}: {str(error)[:90]}")
                totals["not compared"] += 1
                continue
            totals.update(name for turn in found for name in turn)
            print(f"{name:28} {kind:10} {'; '.join('+'.join(turn) for turn in found)}")
    print(dict(totals))
    return 0


if __name__ == "__main__":
    sys.exit(main())
