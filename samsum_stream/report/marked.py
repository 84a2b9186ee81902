"""An example as runs of text that say what trains and what does not, with special tokens and white space in sight."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from samsum_stream.samples import IGNORE_INDEX, Example

_HIDDEN_SPACES = re.compile(r"^ +| {2,}| +$", re.MULTILINE)


class Run(NamedTuple):
    """Tokens that follow each other and are alike: a special token stands by itself."""

    text: str
    trains: bool
    is_special: bool


def marked(example: Example, tokenizer: PreTrainedTokenizerBase) -> list[Run]:
    """The runs of an example, in order."""
    backend = tokenizer.backend_tokenizer
    special = {number: token.content for number, token in backend.get_added_tokens_decoder().items() if token.special}
    decode = _decoder(tokenizer)
    ids, trains = example.input_ids.tolist(), (example.labels != IGNORE_INDEX).tolist()
    return list(_runs(ids, trains, special, decode))


def visible(text: str) -> str:
    """The text with its line ends, tabs and hidden spaces in sight; what does not print is named, as `⟨U+200B⟩`."""
    seen = _HIDDEN_SPACES.sub(lambda spaces: "·" * len(spaces[0]), text)
    seen = seen.replace("\t", "→").replace("\n", "↵\n")
    return "".join(each if each.isprintable() or each == "\n" else f"⟨U+{ord(each):04X}⟩" for each in seen)


def _runs(
    ids: Sequence[int], trains: Sequence[bool], special: dict[int, str], decode: Callable[[list[int]], str]
) -> Iterator[Run]:
    kinds = [(train, number in special) for number, train in zip(ids, trains, strict=True)]
    for (train, is_special), group in groupby(zip(ids, kinds, strict=True), key=lambda each: each[1]):
        run = [number for number, _ in group]
        if is_special:
            yield from (Run(special[number], train, True) for number in run)
        else:
            yield Run(visible(decode(run)), train, False)


def _decoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[int]], str]:
    """Decodes ids as they read behind others: decoders such as Llama-2's change the start of a text."""
    backend = tokenizer.backend_tokenizer
    before = backend.encode("a", add_special_tokens=False).ids
    start = backend.decode(before, skip_special_tokens=False)

    def decode(ids: list[int]) -> str:
        text: str = backend.decode([*before, *ids], skip_special_tokens=False)
        return text.removeprefix(start)

    return decode
