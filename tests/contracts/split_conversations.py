"""Streams over conversations of which one row gives several examples, because the template rewrites history.

    python -m tests.contracts.split_conversations --chains 1000

checks random chains of topologies over them.
"""

import argparse
import random
from functools import cache, partial
from typing import Any

import transformers

from samsum_stream import SFTStream
from tests.chains import Reference, check_chain, random_chain
from tests.contracts.conversations import tokenizer_for
from tests.prompts.chat.templates import CHATML, FORGETS_REASONING
from tests.resuming import LANES

MAX_LENGTH = 96
REFUSES = "{% for m in messages if '(forbidden)' in m.content %}{{ raise_exception('a forbidden text') }}{% endfor %}"
LOSES = "('' if '(lost)' in m.content else m.content)"
TEMPLATES = {
    "forgets": FORGETS_REASONING,
    "whole": CHATML,
    "calls": FORGETS_REASONING.replace("m.content ~", "m.content ~ (m.tool_calls | tojson if m.tool_calls else '') ~"),
    "refuses": REFUSES + FORGETS_REASONING.replace("m.content ~", f"{LOSES} ~"),
}


@cache
def tokenizer_with(template: str) -> transformers.PreTrainedTokenizerBase:
    return tokenizer_for(TEMPLATES[template])


def conversation(number: int, *, reasons: bool = True) -> dict[str, Any]:
    """A conversation of 1 to 4 rounds whose texts name the row; one in 13 has a turn that is longer than a pack."""
    messages = [{"role": "system", "content": f"Be {number}."}] if number % 3 == 0 else []
    for turn in range(number * 7 % 4 + 1):
        messages.append({"role": "user", "content": f"q{number} {turn}"})
        answer: dict[str, Any] = {"role": "assistant", "content": f"a{number} {turn}" + " yes" * (number % 5)}
        if reasons and (number + turn) % 3 == 0:
            answer["reasoning_content"] = f"r{number}"
        if number % 13 == 5 and turn == 1:
            answer["content"] += " no" * MAX_LENGTH
        messages.append(answer)
    return {"messages": messages}


def conversations(number: int, *, template: str = "forgets") -> list[dict[str, Any]]:
    """Conversations with reasoning at some turns, if the template has a field for it."""
    return [conversation(index, reasons=template != "whole") for index in range(number)]


def make_stream(rows: object = None, *, template: str = "forgets", **changes: Any) -> SFTStream:
    """A stream over conversations with small packs; `changes` are keys of the config, `chat` those of the template."""
    chat = changes.pop("chat", {})
    defaults = {
        "prompt_format_config": {"method": "ChatTemplate", "kwargs": chat},
        "tokenizer_config": {"backend": "hf"},
        "packing_config": {"kwargs": {"max_length": changes.pop("max_length", MAX_LENGTH), "buffer_size": 5}},
        "batch_size": 2,
    }
    rows = conversations(60) if rows is None and "source_config" not in changes else rows
    return SFTStream.from_config({**defaults, **changes}, rows=rows, tokenizer=tokenizer_with(template))


def make_references() -> list[Reference]:
    """Endless, one epoch, and two epochs from a callable, on 24 lanes."""
    rows = conversations(8 * LANES)
    return [
        Reference(make_stream(rows, epochs=None, lanes=LANES)),
        Reference(make_stream(rows, epochs=1, lanes=LANES, truncation_config={"method": "turns"})),
        Reference(make_stream(partial(iter, rows), epochs=2, lanes=LANES, collator_config={"method": "padding_free"})),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chooser, references = random.Random(arguments.seed), make_references()
    num_checked = sum(check_chain(references[n % 3], random_chain(chooser)) for n in range(arguments.chains))
    print(f"{arguments.chains:,} chains: {num_checked:,} batches, 0 mismatches")


if __name__ == "__main__":
    main()
