"""The keys of a config as strict, frozen models: types, bounds, defaults, and which of them belong together."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from samsum_stream.config.problems import Places
from samsum_stream.config.rules import Rule, problems_of, several
from samsum_stream.errors.wording import did_you_mean

Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31), Rule("a whole number of 32 bits, -2147483648 to 2147483647")]
PositiveInt = Annotated[int, Field(ge=1), Rule("a whole number of 1 or more")]
NaturalInt = Annotated[int, Field(ge=0), Rule("a whole number of 0 or more")]
CountOrRate = (
    Annotated[int, Field(ge=0), Rule("a number of 0 or more")]
    | Annotated[float, Field(ge=0, allow_inf_nan=False), Rule("a number of 0 or more")]
)
Weight = (  # far enough from where floats end, in which shares are reckoned
    Annotated[int, Field(gt=0, le=10**15), Rule("a number above 0, from 1e-15 to 1e15")]
    | Annotated[float, Field(ge=1e-15, le=1e15, allow_inf_nan=False), Rule("a number above 0, from 1e-15 to 1e15")]
)
Name = Annotated[str, Field(min_length=1), Rule("non-empty text")]

COLUMN_NAMES = ("input", "response", "contexts", "context")
"""What `columns` can rename a dataset's columns to."""

COLLATOR_KWARGS: dict[str, tuple[str, ...]] = {
    "packed": ("attention",),
    "padded": ("pad_to_multiple_of", "padding_side"),
    "padding_free": (),
}
"""Which collator takes which kwargs."""


MIXTURE = "mixture"
"""The source method whose kwargs are sources."""


class _Section(BaseModel):
    # Inputs may hold credentials, so pydantic's own messages must not show them either.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class SourceConfig(_Section):
    """Where rows come from; the method is left out where rows are passed in memory."""

    method: Name | None = Field(default=None, description="which source: a registered name, or path.to.module::name")
    kwargs: dict[str, Any] = Field(default_factory=dict, repr=False, description="the source's own arguments")
    columns: dict[str, str] = Field(default_factory=dict, description="the dataset's own names of the columns")

    @field_validator("columns")
    @classmethod
    def _columns_are_known(cls, columns: dict[str, str]) -> dict[str, str]:
        unknown = [name for name in columns if name not in COLUMN_NAMES]
        if unknown:
            raise several(((name,), f"unknown column; {did_you_mean(name, COLUMN_NAMES)}") for name in unknown)
        if "contexts" in columns and "context" in columns:
            raise ValueError("contexts and context are two names of one column; keep one of them")
        return columns

    @model_validator(mode="after")
    def _mixtures_are_well_formed(self) -> "SourceConfig":
        """A mixture's kwargs are sections of their own."""
        if self.method != MIXTURE:
            return self
        if self.columns:
            text = "each child of a mixture names its own; write it beside the child's method"
            raise several([(("columns",), text)])
        try:
            MixtureKwargs.model_validate(self.kwargs)
        except ValidationError as error:
            found = problems_of(error, model=MixtureKwargs)
        else:
            return self
        raise several((("kwargs", *problem.path), problem.text) for problem in found)


class MixtureChild(SourceConfig):
    """A child of a mixture."""

    method: Name = Field(description="which source: a registered name, or path.to.module::name")
    weight: Weight = Field(default=1, description="its share, next to the weights of the other children")


class MixtureKwargs(_Section):
    """Several sources as one, in shares that are kept."""

    sources: Annotated[
        dict[Name, MixtureChild], Field(min_length=1), Rule("a mapping of names to sources, one or more")
    ] = Field(description="the children by name")
    weight_by: Literal["rows", "tokens"] = Field(default="rows", description="what the weights are shares of")
    stopping_strategy: Literal["first_exhausted", "all_exhausted", "endless"] = Field(
        default="first_exhausted", description="when an epoch ends: with the first child or the last; endless never"
    )


class PromptConfig(_Section):
    """The task: what to say."""

    method: Name = Field(default="Prompt", description="which prompt: a registered name, or path.to.module::name")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="the prompt's own arguments")


class PromptFormatConfig(_Section):
    """The model's dialect: how to say it."""

    method: Name = Field(description="which format: a registered name, or path.to.module::name")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="the format's own arguments")


class TokenizerConfig(_Section):
    """How text becomes tokens."""

    backend: Literal["auto", "hf", "fastokens"] = Field(
        default="auto", description="who encodes; auto takes fastokens where it is proven to agree with hf"
    )
    special_tokens_in_rows: Literal["text", "parse", "error"] = Field(
        default="text", description="what becomes of a special token that a row's own text spells"
    )
    verify_every: PositiveInt = Field(
        default=1000, description="how many chunks pass from one that both backends encode to the next"
    )


class PackingKwargs(_Section):
    """The arguments of every packing method."""

    max_length: PositiveInt = Field(default=2048, description="how many tokens fit in a pack")
    buffer_size: PositiveInt = Field(default=64, description="how many examples wait for a pack that they fit")


class PackingConfig(_Section):
    """How examples share a pack."""

    method: Literal["greedy", "first_fit", "best_fit", "none"] = Field(
        default="best_fit", description="how the examples of a pack are chosen; none is one example a pack"
    )
    kwargs: PackingKwargs = Field(default=PackingKwargs(), description="the sizes of a pack and of the window")


class TruncationConfig(_Section):
    """What becomes of an example that is longer than a pack."""

    method: Literal["drop", "contexts", "input", "right", "error"] = Field(
        default="drop", description="what is cut from an example that is too long, or whether it is dropped"
    )


class CollatorKwargs(_Section):
    """The arguments of all collators; `COLLATOR_KWARGS` says which of them take which."""

    attention: Literal["auto", "position_ids", "block_mask", "varlen", "full"] = Field(
        default="auto", description="how a packed batch keeps its documents apart (packed only)"
    )
    pad_to_multiple_of: PositiveInt | None = Field(
        default=None, description="what the padded length is a multiple of (padded only)"
    )
    padding_side: Literal["right", "left"] = Field(default="right", description="where padding goes (padded only)")


class CollatorConfig(_Section):
    """How packs become the tensors of a batch."""

    method: Literal["packed", "padded", "padding_free"] = Field(default="packed", description="the layout of a batch")
    kwargs: CollatorKwargs = Field(default=CollatorKwargs(), description="the layout's own arguments")

    @model_validator(mode="after")
    def _kwargs_belong_to_method(self) -> "CollatorConfig":
        strange = self.kwargs.model_fields_set.difference(COLLATOR_KWARGS[self.method])
        if strange:
            raise several((("kwargs", name), self._homeless(name)) for name in sorted(strange))
        return self

    def _homeless(self, name: str) -> str:
        home = next(method for method, names in COLLATOR_KWARGS.items() if name in names)
        own = ", ".join(COLLATOR_KWARGS[self.method]) or "none"
        return f'is for method "{home}", and the method is "{self.method}"; known to {self.method}: {own}'

    @field_serializer("kwargs")
    def _own_kwargs(self, kwargs: CollatorKwargs) -> dict[str, Any]:
        return {name: getattr(kwargs, name) for name in COLLATOR_KWARGS[self.method]}


class FaultConfig(_Section):
    """What becomes of a bad row."""

    on_bad_row: Literal["raise", "skip"] = Field(default="raise", description="whether a bad row ends the stream")
    max_bad_rows: CountOrRate = Field(
        default=0, description="how many bad rows of a rank are skipped, or which share of every 1,000 rows of a lane"
    )
    quarantine_path: Name | None = Field(default=None, description="the jsonl file that says which rows were skipped")

    @model_validator(mode="after")
    def _only_skipped_rows_have_a_limit(self) -> "FaultConfig":
        if self.on_bad_row == "skip" and not self.max_bad_rows:
            raise several([(("max_bad_rows",), _NO_LIMIT)])
        if isinstance(self.max_bad_rows, float) and self.max_bad_rows >= 1:
            text = f"a decimal number is a share, and below 1; got {self.max_bad_rows}; write a whole number of rows"
            raise several([(("max_bad_rows",), text)])
        if self.on_bad_row == "raise":
            told = [name for name in ("max_bad_rows", "quarantine_path") if getattr(self, name)]
            raise_or = "is for on_bad_row: skip, and the first bad row raises; write skip, or leave it out"
            if told:
                raise several(((name,), raise_or) for name in told)
        if self.quarantine_path is not None and "://" in self.quarantine_path:
            raise several([(("quarantine_path",), "must be a local file, which every rank writes beside its work")])
        return self


_NO_LIMIT = "with on_bad_row: skip, say how many bad rows may be: 10 of a rank, or 0.005 of every 1,000 rows of a lane"


class StreamConfig(_Section):
    """Everything that a YAML file says about a stream."""

    source_config: SourceConfig = Field(default=SourceConfig(), description="where rows come from")
    base_model: Name | None = Field(default=None, description="whose tokenizer to load: an id or a folder")
    prompt_config: PromptConfig = Field(default=PromptConfig(), description="the task: what to say")
    prompt_format_config: PromptFormatConfig | None = Field(
        default=None, description="the model's dialect; null follows from base_model"
    )
    tokenizer_config: TokenizerConfig = Field(default=TokenizerConfig(), description="how text becomes tokens")
    packing_config: PackingConfig = Field(default=PackingConfig(), description="how examples share a pack")
    truncation_config: TruncationConfig = Field(
        default=TruncationConfig(), description="what becomes of an example that is too long"
    )
    collator_config: CollatorConfig = Field(default=CollatorConfig(), description="how packs become tensors")
    fault_config: FaultConfig = Field(default=FaultConfig(), description="what becomes of a bad row")
    batch_size: PositiveInt = Field(default=8, description="how many packs make a batch")
    shuffle: bool = Field(default=True, description="whether every epoch shuffles the rows")
    seed: NaturalInt = Field(default=0, description="what the shuffled order follows from")
    epochs: PositiveInt | None = Field(default=1, description="how many passes over the rows; null is endless")
    lanes: Literal["auto"] | PositiveInt = Field(default="auto", description="how many lanes divide the rows")
    ignore_index: Int32 = Field(default=-100, description="the label that the loss leaves out")
    num_proc: PositiveInt = Field(default=1, description="how many processes the older layout prepared rows with")

    _places: Places = PrivateAttr(default_factory=Places)

    @model_validator(mode="before")
    @classmethod
    def _padded_rows_hold_one_example(cls, data: Any) -> Any:
        """`padded` lays out one example a row, so packing is off with it unless the config says otherwise."""
        packing = data.get("packing_config", {})
        if _names_padded(data) and isinstance(packing, dict) and "method" not in packing:
            return {**data, "packing_config": {**packing, "method": "none"}}
        return data

    @model_validator(mode="after")
    def _padded_rows_are_not_packed(self) -> "StreamConfig":
        if self.collator_config.method == "padded" and self.packing_config.method != "none":
            text = (
                f'is "{self.packing_config.method}", but a padded row holds one example; write none, or collate packed'
            )
            raise several([(("packing_config", "method"), text)])
        return self

    def where(self, *path: str | int) -> str:
        """The start of a message about a value: `configs/samsum.yaml:3: source_config.method`."""
        return self._places.where(path)


def _names_padded(data: Mapping[str, Any]) -> bool:
    collator = data.get("collator_config")
    return isinstance(collator, dict) and collator.get("method") == "padded"
