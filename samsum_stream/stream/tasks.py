"""The tasks of a stream: how rows become examples. The sources of a mixture can have different tasks.

config ──sections of each source──▶ Task: prompt, format or chat template, rules of conversations
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from samsum_stream.config import StreamConfig, leaf_sections
from samsum_stream.config.registry import call, resolve
from samsum_stream.errors import ConfigError
from samsum_stream.prompts import FORMATS_OF_CONFIG, PROMPTS, ChatTemplate, Prompt, format_for_model
from samsum_stream.sources import ConversationRules, TemplateNames


@dataclass(frozen=True, eq=False)
class Task:
    """What a config says about how rows become examples.

    Attributes:
        config: The config, with the sections of the source.
        prompt: The prompt, with its format.
        template: The chat template of the config; None if it names another format, or none.
    """

    config: StreamConfig
    prompt: Prompt
    template: ChatTemplate | None

    @property
    def names(self) -> TemplateNames:
        """What the templates of the prompt read."""
        in_prompt = self.prompt.names_in_prompt
        in_answer = tuple(name for name in self.prompt.names if name not in in_prompt)
        return TemplateNames(in_prompt, in_answer, self.prompt.reads_input)

    @property
    def rules(self) -> ConversationRules:
        """How conversations are read."""
        section = self.config.conversation_config
        return ConversationRules(
            fields=section.fields,
            roles=section.roles,
            consecutive=section.consecutive,
            system=section.system,
            turns=self.config.loss_config.turns,
            keeps_reasoning=section.reasoning != "drop",
        )


class Tasks(NamedTuple):
    """The tasks of a stream.

    Attributes:
        of_config: The task of the config itself.
        of_leaves: The task of each source by its name as in `stats.children`. Sources share a task that is the same.
    """

    of_config: Task
    of_leaves: Mapping[str, Task]

    def of(self, leaf: str) -> Task:
        """The task of a source; that of the config for rows that a caller passes instead of the sources."""
        return self.of_leaves.get(leaf, self.of_config)


def tasks_of(config: StreamConfig, *, base_model: str, trust: Sequence[str]) -> Tasks:
    """The tasks of a config.

    Args:
        config: The config.
        base_model: The name of the base model, which has a default format.
        trust: The modules that the config may import.

    Raises:
        ConfigError: a prompt or a format is unknown, or its arguments are wrong.
        TrustError: the config names code of a module that is not trusted.
    """
    tasks = [_task(config, base_model=base_model, trust=trust)]
    of_leaves = {}
    for leaf in leaf_sections(config.source_config):
        own = config.of_leaf(leaf)
        if not any(task.config == own for task in tasks):
            tasks.append(_task(own, base_model=base_model, trust=trust))
        of_leaves[leaf.name] = next(task for task in tasks if task.config == own)
    return Tasks(tasks[0], of_leaves)


def _task(config: StreamConfig, *, base_model: str, trust: Sequence[str]) -> Task:
    template = _chat_template(config)
    prompt = _prompt(config, base_model=base_model, trust=trust, has_format=template is None)
    return Task(config, prompt, template)


def _chat_template(config: StreamConfig) -> ChatTemplate | None:
    section = config.prompt_format_config
    if section is None or section.method != ChatTemplate.__name__:
        return None
    template = call(ChatTemplate, section.kwargs, where=config.where("prompt_format_config", "kwargs"))
    assert isinstance(template, ChatTemplate)
    return template


def _prompt(config: StreamConfig, *, base_model: str, trust: Sequence[str], has_format: bool) -> Prompt:
    """The prompt, in its format if a format writes it and not a chat template."""
    section = config.prompt_config
    where = config.where("prompt_config", "method")
    factory = resolve(section.method, table=PROMPTS, kind="prompt", trust=trust, where=where)
    formats = _format_kwargs(config, base_model=base_model, trust=trust) if has_format else {}
    kwargs = {**section.kwargs, **formats}
    prompt = call(factory, kwargs, where=config.where("prompt_config", "kwargs"))
    if not isinstance(prompt, Prompt):
        raise ConfigError(
            f"{where}: {section.method} must make a samsum_stream.Prompt; got {type(prompt).__name__}; return a Prompt"
        )
    return prompt


def _format_kwargs(config: StreamConfig, *, base_model: str, trust: Sequence[str]) -> dict[str, Any]:
    """The format as an argument of the prompt; empty if the arguments of the prompt contain a format."""
    section = config.prompt_format_config
    if section is not None:
        where = config.where("prompt_format_config", "method")
        factory = resolve(section.method, table=FORMATS_OF_CONFIG, kind="format", trust=trust, where=where)
        where = config.where("prompt_format_config", "kwargs")
        return {"format": call(factory, section.kwargs, where=where)}
    return {} if "format" in config.prompt_config.kwargs else {"format": format_for_model(base_model)()}
