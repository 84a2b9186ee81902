"""The keys of a config as strict, frozen models: types, bounds, defaults, and rules between keys."""

import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_serializer, model_validator

from samsum_stream.config.fields import COLUMN_NAMES, CountOrRate, Int32, Name, NaturalInt, PositiveInt
from samsum_stream.config.problems import Locations, Path
from samsum_stream.config.rules import several
from samsum_stream.config.section import Section
from samsum_stream.config.source import LeafSection, SourceConfig, leaf_sections
from samsum_stream.config.task import (
    ConversationConfig,
    LossConfig,
    PromptConfig,
    PromptFormatConfig,
    TruncationConfig,
    names_in_braces,
)
from samsum_stream.config.tokenizer import TokenizerConfig
from samsum_stream.errors.wording import did_you_mean

COLLATOR_KWARGS: dict[str, tuple[str, ...]] = {
    "packed": ("attention", "pad_to_multiple_of", "measure"),
    "padded": ("pad_to_multiple_of", "padding_side", "measure"),
    "padding_free": ("pad_to_multiple_of", "measure"),
}
"""The kwargs of each collator."""


class PackingKwargs(Section):
    """The arguments of every packing method."""

    max_length: PositiveInt = Field(default=2048, description="the maximum number of tokens in a pack")
    buffer_size: PositiveInt = Field(default=64, description="the number of examples that can wait for a pack")


class PackingConfig(Section):
    """How examples are combined into packs."""

    method: Literal["greedy", "first_fit", "best_fit", "none"] = Field(
        default="best_fit", description="how the examples of a pack are chosen; none: one example per pack"
    )
    kwargs: PackingKwargs = Field(default=PackingKwargs(), description="the sizes of a pack and of the window")


class CollatorKwargs(Section):
    """The arguments of all collators; `COLLATOR_KWARGS` lists those of each collator."""

    attention: Literal["auto", "position_ids", "block_mask", "varlen", "full"] = Field(
        default="auto", description="how a packed batch isolates its documents (packed only)"
    )
    pad_to_multiple_of: PositiveInt | None = Field(
        default=None, description="the length of the rows is a multiple of this number"
    )
    padding_side: Literal["right", "left"] = Field(default="right", description="the side of the padding (padded only)")
    measure: bool = Field(default=True, description="whether document isolation is measured on the model")


class CollatorConfig(Section):
    """How packs are converted to the tensors of a batch."""

    method: Literal["packed", "padded", "padding_free"] = Field(default="packed", description="the layout of a batch")
    kwargs: CollatorKwargs = Field(default=CollatorKwargs(), description="the arguments of the layout")

    @model_validator(mode="after")
    def _kwargs_belong_to_method(self) -> "CollatorConfig":
        misplaced = self.kwargs.model_fields_set.difference(COLLATOR_KWARGS[self.method])
        if misplaced:
            raise several((("kwargs", name), self._misplaced(name)) for name in sorted(misplaced))
        return self

    def _misplaced(self, name: str) -> str:
        owner = next(method for method, names in COLLATOR_KWARGS.items() if name in names)
        known = ", ".join(COLLATOR_KWARGS[self.method]) or "none"
        return f'belongs to method "{owner}", but the method is "{self.method}"; arguments of {self.method}: {known}'

    @field_serializer("kwargs")
    def _kwargs_of_method(self, kwargs: CollatorKwargs) -> dict[str, Any]:
        return {name: getattr(kwargs, name) for name in COLLATOR_KWARGS[self.method]}


def _require_share(value: int | float, key: str) -> None:
    if isinstance(value, float) and value >= 1:
        text = f"a decimal number is a share below 1; got {value}; write a whole number of rows"
        raise several([((key,), text)])


class FaultConfig(Section):
    """How to treat a bad row."""

    on_bad_row: Literal["raise", "skip"] = Field(default="raise", description="how to treat a bad row")
    max_bad_rows: CountOrRate = Field(
        default=0, description="the limit of skipped rows: a number per rank, or a share of every 1,000 rows of a lane"
    )
    quarantine_path: Name | None = Field(default=None, description="the jsonl file of the skipped rows; a path or URL")

    @model_validator(mode="after")
    def _only_skipped_rows_have_a_limit(self) -> "FaultConfig":
        if self.on_bad_row == "skip" and not self.max_bad_rows:
            raise several([(("max_bad_rows",), _NO_LIMIT)])
        _require_share(self.max_bad_rows, "max_bad_rows")
        if self.on_bad_row == "raise":
            unused = [name for name in ("max_bad_rows", "quarantine_path") if getattr(self, name)]
            text = "requires on_bad_row: skip, but on_bad_row is raise; write skip, or remove this key"
            if unused:
                raise several(((name,), text) for name in unused)
        return self


_NO_LIMIT = "on_bad_row: skip needs a limit; write a number per rank (10), or a share of 1,000 rows of a lane (0.005)"


class StreamConfig(Section):
    """The content of a YAML file."""

    source_config: SourceConfig = Field(default=SourceConfig(), description="the source of the rows")
    base_model: Name | None = Field(default=None, description="the model of the tokenizer: a Hub id or a folder")
    prompt_config: PromptConfig = Field(default=PromptConfig(), description="the texts of a prompt")
    prompt_format_config: PromptFormatConfig | None = Field(
        default=None, description="the prompt format of the model; null: the format that belongs to base_model"
    )
    conversation_config: ConversationConfig = Field(
        default=ConversationConfig(), description="how the messages of conversations are read"
    )
    loss_config: LossConfig = Field(default=LossConfig(), description="which tokens are trained")
    tokenizer_config: TokenizerConfig = Field(default=TokenizerConfig(), description="how text is converted to tokens")
    packing_config: PackingConfig = Field(default=PackingConfig(), description="how examples are combined into packs")
    truncation_config: TruncationConfig = Field(
        default=TruncationConfig(), description="how to treat an example that is too long"
    )
    collator_config: CollatorConfig = Field(
        default=CollatorConfig(), description="how packs are converted to the tensors of a batch"
    )
    fault_config: FaultConfig = Field(default=FaultConfig(), description="how to treat a bad row")
    batch_size: PositiveInt = Field(default=8, description="the number of packs in a batch")
    shuffle: bool = Field(default=True, description="whether the rows are shuffled in every epoch")
    seed: NaturalInt = Field(default=0, description="the seed of the shuffled order")
    epochs: PositiveInt | None = Field(default=1, description="the number of epochs; null: endless")
    holdout: CountOrRate = Field(
        default=0, description="the rows that training never reads: a number, or a share below 1; stream.holdout()"
    )
    lanes: Literal["auto"] | PositiveInt = Field(default="auto", description="the number of lanes")
    ignore_index: Int32 = Field(default=-100, description="the label of tokens that the loss ignores")
    num_proc: PositiveInt = Field(default=1, description="the number of worker processes (a key of the older layout)")

    _locations: Locations = PrivateAttr(default_factory=Locations)

    @model_validator(mode="before")
    @classmethod
    def _padded_rows_hold_one_example(cls, data: Any) -> Any:
        """Sets the packing method `none` for `padded` if the config names none, because a row holds one example."""
        packing = data.get("packing_config", {})
        if _names_padded(data) and isinstance(packing, dict) and "method" not in packing:
            return {**data, "packing_config": {**packing, "method": "none"}}
        return data

    @model_validator(mode="after")
    def _holdout_is_a_number_or_a_share(self) -> "StreamConfig":
        _require_share(self.holdout, "holdout")
        return self

    @model_validator(mode="after")
    def _padded_rows_are_not_packed(self) -> "StreamConfig":
        if self.collator_config.method == "padded" and self.packing_config.method != "none":
            got = f'is "{self.packing_config.method}", but a padded row holds one example'
            text = f"{got}; write none, or collator_config.method: packed"
            raise several([(("packing_config", "method"), text)])
        return self

    @model_validator(mode="after")
    def _columns_are_known(self) -> "StreamConfig":
        """A column has the name of a field, or a name that a template has in braces."""
        problems = [problem for leaf in leaf_sections(self.source_config) for problem in self._unknown_columns(leaf)]
        if problems:
            raise several(problems)
        return self

    def _unknown_columns(self, leaf: LeafSection) -> list[tuple[Path, str]]:
        prompt = self.of_leaf(leaf).prompt_config
        if "::" in prompt.method:  # its templates are in code
            return []
        known = (*COLUMN_NAMES, *names_in_braces(prompt.kwargs.values()))
        unknown = [name for name in leaf.section.columns if name not in known]
        return [((*leaf.path, "columns", name), f"unknown column; {did_you_mean(name, known)}") for name in unknown]

    def of_leaf(self, leaf: LeafSection) -> "StreamConfig":
        """The config with the sections that a source of it has for itself; messages name the keys of these sections."""
        if not leaf.own:
            return self
        config = self.model_copy(update={name: section for name, (_, section) in leaf.own.items()})
        config._locations = self._locations.with_sections({name: path for name, (path, _) in leaf.own.items()})
        return config

    def where(self, *path: str | int) -> str:
        """The start of a message about a value: `configs/samsum.yaml:3: source_config.method`."""
        return self._locations.where(path)

    @property
    def folder(self) -> pathlib.Path:
        """The folder of the file; the working directory for a config that was no file."""
        return pathlib.Path(self._locations.origin).parent


def _names_padded(data: Mapping[str, Any]) -> bool:
    collator = data.get("collator_config")
    return isinstance(collator, dict) and collator.get("method") == "padded"
