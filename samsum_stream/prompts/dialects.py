"""The dialects of the chat models that have one of their own: what each changes in the plain format."""

# ruff: noqa: RUF009  (roles and formats are frozen, so they can be defaults)

from dataclasses import dataclass

from samsum_stream.prompts.formats import PromptFormat
from samsum_stream.prompts.role import Role


@dataclass(frozen=True, kw_only=True)
class UserAssistantFormat(PromptFormat):
    """Speakers called User and Assistant."""

    input: Role = Role("User: ")
    response: Role = Role("Assistant: ")


@dataclass(frozen=True, kw_only=True)
class VicunaFormat(PromptFormat):
    """Vicuna's."""

    input: Role = Role("USER: ")
    response: Role = Role("ASSISTANT: ")
    BOS: str = "<s>"
    EOS: str = "</s>"


@dataclass(frozen=True, kw_only=True)
class RedpajamaFormat(PromptFormat):
    """RedPajama INCITE's, chat and instruct."""

    input: Role = Role("<human>: ")
    response: Role = Role("<bot>: ")


@dataclass(frozen=True, kw_only=True)
class Llama2Format(PromptFormat):
    """Llama-2 chat's: the system text stands inside the first instruction."""

    input: Role = Role("[INST] ", " [/INST]")
    response: Role = Role(" ", " ")
    system: Role = Role("<<SYS>>\n", "\n<</SYS>>\n\n")
    contexts: Role = Role(suffix="\n")
    nested_system: bool = True
    role_separator: str = ""
    BOS: str = "<s>"
    EOS: str = "</s>"


@dataclass(frozen=True, kw_only=True)
class TogetherLlama2Format(PromptFormat):
    """Llama-2-7B-32K-Instruct's: instructions between two spaces, and no system role."""

    input: Role = Role("[INST]  ", "  [/INST]\n\n")
    nested_system: bool = True
    role_separator: str = ""


@dataclass(frozen=True, kw_only=True)
class ChatMLFormat(PromptFormat):
    """ChatML, as MPT chat has it."""

    input: Role = Role("<|im_start|>user\n", "<|im_end|>")
    response: Role = Role("<|im_start|>assistant\n", "<|im_end|>")
    system: Role = Role("<|im_start|>system\n", "<|im_end|>")


@dataclass(frozen=True, kw_only=True)
class DollyFormat(PromptFormat):
    """Dolly's instructions, as MPT instruct has them."""

    input: Role = Role("\n### Instruction:\n")
    response: Role = Role("\n### Response:\n")
