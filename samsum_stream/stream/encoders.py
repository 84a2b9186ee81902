"""The encoders of a stream: one for each task, with the backend that is proven on the first rows of its sources."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from samsum_stream.config import StreamConfig
from samsum_stream.errors import ConfigError
from samsum_stream.pipeline.encoder import Encoder, RowEncoder, TaskEncoder
from samsum_stream.prompts.ready_ids import Vocabulary
from samsum_stream.prompts.rendering import Renderer
from samsum_stream.sources import Leaf, Source
from samsum_stream.stream.opening import OpenedRows
from samsum_stream.stream.renderers import Formats, build_renderer, choose_formats
from samsum_stream.stream.suitability import require_suitable, warn_of_format, warn_of_prompt
from samsum_stream.stream.tasks import Task, Tasks
from samsum_stream.tokenization import (
    Border,
    ExampleTokenizer,
    HFBackend,
    RunEncoder,
    SpecialTokens,
    choose_backend,
    find_border,
    with_control_tokens,
)
from samsum_stream.tokenization.calls import require_same_calls, serialized_backend
from samsum_stream.tokenization.splitting import Borders, Splitter, token_texts
from samsum_stream.values.rows import Rows

MAX_PROBED = 20_000
"""The characters of a text of the first rows with which the tokenizer is probed."""


class BuiltTask(NamedTuple):
    """A task with everything that its rows need.

    Attributes:
        task: The task.
        formats: The formats in which rows are written.
        encoder: Rows to examples.
    """

    task: Task
    formats: Formats
    encoder: RowEncoder

    @property
    def config(self) -> StreamConfig:
        """The config, with the sections of the source."""
        return self.task.config


def build_tasks(
    tasks: Tasks, opened: OpenedRows, first_rows: Sequence[Rows], tokenizer: PreTrainedTokenizerBase
) -> dict[str, BuiltTask]:
    """The task of each source, by its name as in `stats.children`.

    Args:
        tasks: The tasks of the config.
        opened: The rows.
        first_rows: The first rows of each source.
        tokenizer: The tokenizer.

    Raises:
        ConfigError: the settings of a task do not suit its rows, or the tokenizer cannot encode them.
    """
    leaves, rows_of = [leaf.name for leaf in opened.whole.leaves], dict[Task, list[Rows]]()
    for leaf, rows in zip(leaves, first_rows, strict=True):
        rows_of.setdefault(tasks.of(leaf), []).append(rows)
    formats = {task: _formats(task, rows, tokenizer) for task, rows in rows_of.items()}
    built = dict[Task, BuiltTask]()
    for control_tokens in dict.fromkeys(chosen.control_tokens for chosen in formats.values()):
        same = {task: rows for task, rows in rows_of.items() if formats[task].control_tokens == control_tokens}
        encoders = _encoders(same, formats, control_tokens, tokenizer, opened.source)
        built |= {task: BuiltTask(task, formats[task], encoder) for task, encoder in encoders.items()}
    return {leaf: built[tasks.of(leaf)] for leaf in leaves}


def encoder_of(built: Mapping[str, BuiltTask], leaves: Sequence[Leaf]) -> Encoder:
    """The encoder of the rows of all sources."""
    first, *others = encoders = [built[leaf.name].encoder for leaf in leaves]
    if all(encoder is first for encoder in others):
        return first
    return TaskEncoder([leaf.first_shard for leaf in leaves], encoders)


def _formats(task: Task, first_rows: Iterable[Rows], tokenizer: PreTrainedTokenizerBase) -> Formats:
    kinds: set[type] = {type(rows.content) for rows in first_rows}
    formats = choose_formats(task.config, task.prompt, task.template, tokenizer, kinds)
    require_suitable(task.config, formats, kinds)
    warn_of_prompt(task.config, formats, kinds)
    return formats


def _encoders(
    first_rows: Mapping[Task, Sequence[Rows]],
    formats: Mapping[Task, Formats],
    control_tokens: tuple[str, ...],
    tokenizer: PreTrainedTokenizerBase,
    source: Source,
) -> dict[Task, RowEncoder]:
    """The encoders of tasks whose rows must not write the same control tokens. They share a backend."""
    reference = HFBackend(with_control_tokens(serialized_backend(tokenizer), control_tokens))
    border = find_border(reference)
    special_tokens = SpecialTokens(reference, border)
    renderers = {task: _renderer(task.config, formats[task], tokenizer, border, special_tokens) for task in first_rows}
    texts = [
        text[:MAX_PROBED]
        for task, of_task in first_rows.items()
        for rows in of_task
        for text in renderers[task].render(rows).texts
    ]
    section = next(iter(first_rows)).config.tokenizer_config  # the tasks of a stream share it
    require_same_calls(tokenizer, reference, first_rows=texts)
    runs = RunEncoder(
        backend=choose_backend(section.backend, reference, first_rows=texts, verify_every=section.verify_every),
        border=border,
        special_tokens=special_tokens,
        policy=section.special_tokens_in_rows,
        locate=functools.partial(source.position, epoch=0),
    )
    return {
        task: RowEncoder(
            renderer,
            _example_tokenizer(task.config, runs, reference, tokenizer),
            skips=task.config.fault_config.on_bad_row == "skip",
        )
        for task, renderer in renderers.items()
    }


def _renderer(
    config: StreamConfig,
    formats: Formats,
    tokenizer: PreTrainedTokenizerBase,
    border: Border,
    special_tokens: SpecialTokens,
) -> Renderer:
    warn_of_format(formats, special_tokens)
    return build_renderer(
        config,
        formats,
        bos="".join(tokenizer.convert_ids_to_tokens(border.added.tolist())),
        eos=str(tokenizer.eos_token),
        joints=special_tokens.cuts.joints,
        vocabulary=Vocabulary(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id),
    )


def _example_tokenizer(
    config: StreamConfig, runs: RunEncoder, reference: HFBackend, tokenizer: PreTrainedTokenizerBase
) -> ExampleTokenizer:
    return ExampleTokenizer(
        runs,
        reference=reference,
        eos_token_id=int(tokenizer.eos_token_id),
        max_length=config.packing_config.kwargs.max_length,
        truncation=config.truncation_config.method,
        lengths=config.truncation_config.lengths,
        trains_prompts=config.loss_config.prompts,
        splitter=_splitter(config, tokenizer),
    )


def _splitter(config: StreamConfig, tokenizer: PreTrainedTokenizerBase) -> Splitter | None:
    section, max_length = config.truncation_config, config.packing_config.kwargs.max_length
    if section.method != "split":
        return None
    if section.kwargs.overlap >= max_length:
        raise ConfigError(
            f"{config.where('truncation_config', 'kwargs', 'overlap')}: must be less than max_length, which is "
            f"{max_length:,}, got {section.kwargs.overlap:,}; each piece needs a token of its own"
        )
    texts = token_texts(tokenizer.backend_tokenizer) if section.kwargs.at != "token" else []
    return Splitter(max_length, section.kwargs.overlap, Borders.of(texts, section.kwargs.at))
