"""Rows to segments: a prompt gives the texts around a row, and a format gives the markup."""

from samsum_stream.prompts.chat.chat_template import ChatTemplate
from samsum_stream.prompts.dialects import (
    ChatMLFormat,
    DollyFormat,
    Llama2Format,
    RedpajamaFormat,
    TogetherLlama2Format,
    UserAssistantFormat,
    VicunaFormat,
)
from samsum_stream.prompts.formats import PromptFormat
from samsum_stream.prompts.message import Message
from samsum_stream.prompts.models import format_for_model
from samsum_stream.prompts.prompt import Prompt
from samsum_stream.prompts.role import Role
from samsum_stream.prompts.tasks import DefaultPrompt, FewShotQA, StandaloneQuestion, TextSummarization, ZeroShotQA

__all__ = [
    "FORMATS",
    "FORMATS_OF_CONFIG",
    "PROMPTS",
    "ChatMLFormat",
    "ChatTemplate",
    "DefaultPrompt",
    "DollyFormat",
    "FewShotQA",
    "Llama2Format",
    "Message",
    "Prompt",
    "PromptFormat",
    "RedpajamaFormat",
    "Role",
    "StandaloneQuestion",
    "TextSummarization",
    "TogetherLlama2Format",
    "UserAssistantFormat",
    "VicunaFormat",
    "ZeroShotQA",
    "format_for_model",
]

PROMPTS: dict[str, type[Prompt]] = {
    "DefaultPrompt": DefaultPrompt,
    "FewShotQA": FewShotQA,
    "Prompt": Prompt,
    "StandaloneQuestion": StandaloneQuestion,
    "TextSummarization": TextSummarization,
    "ZeroShotQA": ZeroShotQA,
}
"""The prompts by name, as configs name them."""

FORMATS: dict[str, type[PromptFormat]] = {
    "ChatMLFormat": ChatMLFormat,
    "DollyFormat": DollyFormat,
    "Llama2Format": Llama2Format,
    "PromptFormat": PromptFormat,
    "RedpajamaFormat": RedpajamaFormat,
    "TogetherLlama2Format": TogetherLlama2Format,
    "UserAssistantFormat": UserAssistantFormat,
    "VicunaFormat": VicunaFormat,
}
"""The formats that a prompt can have, by name."""

FORMATS_OF_CONFIG: dict[str, type] = {**FORMATS, "ChatTemplate": ChatTemplate}
"""The formats by name, as configs name them."""
