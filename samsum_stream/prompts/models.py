"""The format that a model was trained on, found by the name of the model."""

import re

from samsum_stream.prompts.dialects import (
    ChatMLFormat,
    DollyFormat,
    Llama2Format,
    RedpajamaFormat,
    TogetherLlama2Format,
    VicunaFormat,
)
from samsum_stream.prompts.formats import PromptFormat

_FORMAT_OF_NAME: dict[str, type[PromptFormat]] = {
    r"llama-2-7b-32k-instruct": TogetherLlama2Format,
    r"llama[-_]?2[-_].*chat": Llama2Format,
    r"vicuna": VicunaFormat,
    r"redpajama-incite-.*(chat|instruct)": RedpajamaFormat,
    r"mpt-.*chat": ChatMLFormat,
    r"mpt-.*instruct": DollyFormat,
}


def format_for_model(base_model: str) -> type[PromptFormat]:
    """The format of a model, from its Hub id or the name of its folder; the plain format if the name is unknown."""
    name = re.split(r"[/\\]", base_model.rstrip("/\\"))[-1]
    for pattern, known_format in _FORMAT_OF_NAME.items():
        if re.search(rf"(?<![a-z]){pattern}(?![a-z])", name, re.IGNORECASE):
            return known_format
    return PromptFormat
