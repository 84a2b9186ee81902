"""The section of the source: where the rows come from, which of them are read, and their columns."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from samsum_stream.config.conditions import Condition
from samsum_stream.config.fields import Name, PositiveInt, Slice, Weight
from samsum_stream.config.problems import Path
from samsum_stream.config.rules import Rule, problems_of, several
from samsum_stream.config.section import Section
from samsum_stream.config.task import OwnTask

MAX_ROW = 2**62
"""A number that no source has as many rows as."""

MIXTURE = "mixture"
"""The source method that combines other sources."""

OF_ONE_SOURCE = ("columns", "max_rows", "slice", "where", "map", "filter")
"""The keys of a source that a mixture does not have, but its children."""


class ColumnConfig(Section):
    """A column whose values are converted to texts."""

    name: Name = Field(alias="from", description="the name of the column in the dataset")
    kind: Literal["text", "json", "class_name"] | None = Field(
        default=None, alias="as", description="how its values become texts; null: they are texts"
    )

    def __str__(self) -> str:
        return f"{self.name} as {self.kind}" if self.kind else self.name


Column = Annotated[
    Annotated[str, Tag("name")] | Annotated[ColumnConfig, Tag("converted")],
    Discriminator(lambda value: "converted" if isinstance(value, dict | ColumnConfig) else "name"),
]
"""The name of a column, or its name and a conversion."""


class SourceConfig(Section):
    """The source of the rows; omit the method if the rows are passed in memory."""

    method: Name | None = Field(default=None, description="the source: a registered name, or path.to.module::name")
    kwargs: dict[str, Any] = Field(default_factory=dict, repr=False, description="the arguments of the source")
    columns: dict[str, Column] = Field(
        default_factory=dict, description="the columns in the dataset, by our names and the names in templates"
    )

    max_rows: PositiveInt | None = Field(default=None, description="the largest number of rows that are read")
    slice: Slice | None = Field(default=None, description="start, stop and step of the rows that are read")

    where: dict[Name, Condition] = Field(
        default_factory=dict,
        description="the values that columns of a row must have: a value, a list of values, or min, max and not",
    )
    map: Name | None = Field(
        default=None, description="your function path.to.module::name, which changes a row: a dict to a dict"
    )
    filter: Name | None = Field(
        default=None,
        description="your function path.to.module::name, which keeps or drops a row: a dict to a bool",
    )

    @property
    def row_range(self) -> range:
        """The numbers of the rows that `slice` and `max_rows` keep; an open end is the largest number."""
        start, stop, step = (*(self.slice or (0, None)), 1)[:3]
        first, last, every = start or 0, MAX_ROW if stop is None else stop, step or 1
        return range(first, last, every)[: self.max_rows]

    @field_validator("slice")
    @classmethod
    def _slice_keeps_rows(cls, given: list[int | None] | None) -> list[int | None] | None:
        start, stop, step = (*(given or (0, None)), 1)[:3]
        if step == 0 or (stop is not None and stop <= (start or 0)):
            raise ValueError(f"a slice has a stop above its start, and a step of 1 or more; got {given}")
        return given

    @field_validator("columns")
    @classmethod
    def _contexts_are_named_once(cls, columns: dict[str, Column]) -> dict[str, Column]:
        if "contexts" in columns and "context" in columns:
            raise ValueError("contexts and context are two names of one column; keep one of them")
        return columns

    @model_validator(mode="after")
    def _mixtures_are_well_formed(self) -> "SourceConfig":
        """Validates the kwargs of a mixture, which contain source sections."""
        if self.method != MIXTURE:
            return self
        if keys := [key for key in OF_ONE_SOURCE if getattr(self, key)]:
            text = "a mixture has no {0} of its own; write {0} beside the method of each child"
            raise several(((key,), text.format(key)) for key in keys)
        try:
            MixtureKwargs.model_validate(self.kwargs)
        except ValidationError as error:
            problems = problems_of(error, model=MixtureKwargs)
        else:
            return self
        raise several((("kwargs", *problem.path), problem.text) for problem in problems)


class MixtureChild(OwnTask, SourceConfig):
    """A child of a mixture."""

    method: Name = Field(description="the source: a registered name, or path.to.module::name")
    weight: Weight = Field(default=1, description="the share of this child, relative to the weights of all children")


class MixtureKwargs(Section):
    """Several sources as one, in fixed shares."""

    sources: Annotated[
        dict[Name, MixtureChild], Field(min_length=1), Rule("a mapping of names to sources, one or more")
    ] = Field(description="the children by name")
    weight_by: Literal["rows", "tokens"] = Field(default="rows", description="the unit of the weights")
    stopping_strategy: Literal["first_exhausted", "all_exhausted", "endless"] = Field(
        default="first_exhausted", description="when an epoch ends: after the first child, after the last one, or never"
    )


class LeafSection(NamedTuple):
    """The section of a source that is not a mixture.

    Attributes:
        name: The name of the source as in `stats.children`; empty outside of a mixture.
        path: The path of the section.
        section: The section.
        own: The sections of a task that the source, or a mixture around it, has for itself, each with its path.
    """

    name: str
    path: Path
    section: SourceConfig
    own: Mapping[str, tuple[Path, Section]]


def leaf_sections(section: SourceConfig) -> Iterator[LeafSection]:
    """The sections of the sources in a section: of all children of a mixture, or of its only source."""
    return _leaf_sections(LeafSection("", ("source_config",), section, {}))


def _leaf_sections(above: LeafSection) -> Iterator[LeafSection]:
    if above.section.method != MIXTURE:
        yield above
        return
    for child, section in MixtureKwargs.model_validate(above.section.kwargs).sources.items():
        path = (*above.path, "kwargs", "sources", child)
        own = {key: ((*path, key), value) for key, value in section.own.items()}
        name = f"{above.name}/{child}".removeprefix("/")
        yield from _leaf_sections(LeafSection(name, path, section, {**above.own, **own}))
