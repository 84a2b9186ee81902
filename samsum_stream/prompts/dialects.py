"""The formats of chat models: each format overrides defaults of the plain format."""

# ruff: noqa: RUF009  (roles and formats are frozen, so they can be defaults)

from dataclasses import dataclass

from samsum_stream.prompts.formats import PromptFormat
from samsum_stream.prompts.role import Role


@dataclass(frozen=True, kw_only=True)
class UserAssistantFormat(PromptFormat):
    """`User: ` before the input and `Assistant: ` before the response."""

    input: Role = Role("User: ")
    response: Role = Role("Assistant: ")


@dataclass(frozen=True, kw_only=True)
class VicunaFormat(PromptFormat):
    """The format of Vicuna."""

    input: Role = Role("USER: ")
    response: Role = Role("ASSISTANT: ")
    BOS: str = "<s>"
    EOS: str = "</s>"


@dataclass(frozen=True, kw_only=True)
class RedpajamaFormat(PromptFormat):
    """The format of RedPajama INCITE, chat and instruct."""

    input: Role = Role("<human>: ")
    response: Role = Role("<bot>: ")


@dataclass(frozen=True, kw_only=True)
class Llama2Format(PromptFormat):
    """The format of Llama-2 chat: the system message is inside the first instruction."""

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
    """The format of Llama-2-7B-32K-Instruct: two spaces on each side of an instruction, and no system role."""

    input: Role = Role("[INST]  ", "  [/INST]\n\n")
    nested_system: bool = True
    role_separator: str = ""


@dataclass(frozen=True, kw_only=True)
class ChatMLFormat(PromptFormat):
    """ChatML as MPT chat uses it."""

    input: Role = Role("<|im_start|>user\n", "<|im_end|>")
    response: Role = Role("<|im_start|>assistant\n", "<|im_end|>")
    system: Role = Role("<|im_start|>system\n", "<|im_end|>")


@dataclass(frozen=True, kw_only=True)
class DollyFormat(PromptFormat):
    """The instructions of Dolly as MPT instruct uses them."""

    input: Role = Role("\n### Instruction:\n")
    response: Role = Role("\n### Response:\n")
