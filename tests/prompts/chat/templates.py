"""Chat templates for tests: small ones with one difficulty each, and real ones from installed packages."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import transformers
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers.utils import chat_template_utils

from samsum_stream.prompts.chat.stops import find_stops
from samsum_stream.prompts.chat.template import DATE, CompiledTemplate
from samsum_stream.prompts.chat.turns import TurnFinder

EOS = "<|endoftext|>"
GENERATION_STOPS = ("<|user|>", "<|observation|>")

HEADER = r"{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

CHATML = (
    r"{% for m in messages %}"
    r"{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}"
    r"{% endfor %}" + HEADER
)

FORGETS_REASONING = (
    r"{% set ns = namespace(last=0) %}"
    r"{% for m in messages if m.role == 'user' %}{% set ns.last = messages.index(m) %}{% endfor %}"
    r"{% for m in messages %}"
    r"{{ '<|im_start|>' ~ m.role ~ '\n' }}"
    r"{% if m.role == 'assistant' and loop.index0 > ns.last %}"
    r"{{ '<think>' ~ (m.reasoning_content or '') ~ '</think>' }}"
    r"{% endif %}"
    r"{{ m.content ~ '<|im_end|>\n' }}"
    r"{% endfor %}" + HEADER
)
"""Like Qwen3: the reasoning of earlier rounds is dropped, and a turn without reasoning gets an empty block."""

PREFILLS_THINKING = (
    r"{% for m in messages %}"
    r"{{ '<|im_start|>' ~ m.role ~ '\n' }}"
    r"{% if m.role == 'assistant' %}"
    r"{{ '<think>\n' ~ m.reasoning_content ~ '</think>' if m.reasoning_content else '<think></think>' }}"
    r"{% endif %}"
    r"{{ m.content ~ '<|im_end|>\n' }}"
    r"{% endfor %}"
    r"{% if add_generation_prompt %}"
    r"{{ '<|im_start|>assistant\n' ~ ('<think>\n' if enable_thinking | default(true) else '<think></think>') }}"
    r"{% endif %}"
)
"""Like Nemotron: the prompt starts a block of reasoning, or writes an empty one if `enable_thinking` is false."""

EOS_AT_THE_END = (
    r"{% for m in messages %}{{ '<|' ~ m.role ~ '|>\n' ~ m.content ~ '<|end|>\n' }}{% endfor %}"
    r"{{ '<|assistant|>\n' if add_generation_prompt else '<|endoftext|>' }}"
)
"""Like Phi-3: an eos after the last turn, behind the stop token."""

NO_STOP_TOKEN = (
    r"{% for m in messages %}"
    r"{{ '<|observation|>' if m.role == 'tool' else '<|' ~ m.role ~ '|>' }}"
    r"{{ '\n' ~ m.content }}"
    r"{% for call in m.tool_calls or [] %}{{ '<tool_call>' ~ call.function.name ~ '</tool_call>' }}{% endfor %}"
    r"{% endfor %}"
    r"{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""Like GLM-4: a turn ends where the next one starts."""

OTHER_STOP_IN_THE_HISTORY = (
    r"{% for m in messages %}"
    r"{{ '<|start|>' ~ m.role ~ ('<|channel|>final' if m.role == 'assistant' else '') ~ '<|message|>' ~ m.content }}"
    r"{{ '<|return|>' if m.role == 'assistant' and loop.last else '<|end|>' }}"
    r"{% endfor %}"
    r"{{ '<|start|>assistant' if add_generation_prompt else '' }}"
)
"""Like gpt-oss: another stop token in final position than in the history."""

REWRITES_THE_PAST = r"{{ '[' ~ messages | length ~ ']' }}" + CHATML
"""The start of the text depends on the number of messages, so the prompt is never a prefix: only a splice is left."""

SMALL = {
    "chatml": CHATML,
    "forgets_reasoning": FORGETS_REASONING,
    "prefills_thinking": PREFILLS_THINKING,
    "eos_at_the_end": EOS_AT_THE_END,
    "no_stop_token": NO_STOP_TOKEN,
    "other_stop_in_the_history": OTHER_STOP_IN_THE_HISTORY,
    "rewrites_the_past": REWRITES_THE_PAST,
}

_CONTROL = re.compile(
    r"<\|[^<>|\s]+\|>|<｜[^<>｜]+｜>|</?[a-z_]+>|\[/?[A-Z_]+\]|<[a-z_]+\|>|<\|[a-z_]+>"
    r"|\[\|[a-z]+\|\]|<[a-z]+:[a-z_]+>|<SPECIAL_\d+>|\]~!?b[\[\]]|\[e~\["  # EXAONE, Seed, Nemotron Nano 2, MiniMax
)


def control_tokens(source: str) -> list[str]:
    """The control tokens that a template spells, and the eos."""
    return sorted({*_CONTROL.findall(source), EOS, *GENERATION_STOPS})


def finder_of(source: str, **changes: Any) -> TurnFinder:
    template = CompiledTemplate(source, special_tokens={"bos_token": "<s>", "eos_token": EOS}, **changes)
    stops = find_stops(template, added_tokens=control_tokens(source), eos=EOS, stop_tokens=GENERATION_STOPS)
    return TurnFinder(template, stops)


def fix_date(source: str) -> None:
    """Let `apply_chat_template` write the fixed date of this package in a template, in this process.

    A variable cannot be a function, so the date is set where the compiled template finds its functions.
    """
    chat_template_utils._compile_jinja_template(source).globals["strftime_now"] = DATE.strftime


def tokenizer_of(source: str) -> transformers.PreTrainedTokenizerBase:
    """A tokenizer of transformers with a template, whose `apply_chat_template` is the reference."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(EOS)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token=EOS, unk_token="<unk>", chat_template=source
    )


def real_templates(package: str, folder: str, *, without: Sequence[str] = ()) -> dict[str, str]:
    """The templates that an installed package contains, by name; none if it is not installed."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return {}
    files = sorted((Path(spec.submodule_search_locations[0]) / folder).glob("*.jinja"))
    return {
        file.stem: file.read_text(encoding="utf-8") for file in files if not any(end in file.stem for end in without)
    }
