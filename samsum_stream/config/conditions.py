"""The conditions of `where`: a value, a list of values, or a range and values that are excluded."""

from typing import Annotated

from pydantic import Discriminator, Field, Tag, model_validator

from samsum_stream.config.rules import Rule
from samsum_stream.config.section import Section
from samsum_stream.errors.wording import shown

Value = Annotated[
    bool | int | Annotated[float, Field(allow_inf_nan=False)] | str, Rule("a text, a number, true or false")
]
"""A value that a column is compared with; dates are texts, such as `2026-01-31`."""

Bound = Annotated[int | Annotated[float, Field(allow_inf_nan=False)] | str, Rule("a number or a text")]

Values = Annotated[list[Value], Field(min_length=1), Rule("a list of one or more texts, numbers, true or false")]

ValueOrValues = Annotated[
    Annotated[Value, Tag("value")] | Annotated[Values, Tag("values")],
    Discriminator(lambda value: "values" if isinstance(value, list) else "value"),
]


class ConditionConfig(Section):
    """A condition that is not a value or a list of values. All of its keys hold together."""

    minimum: Bound | None = Field(default=None, alias="min", description="the smallest value")
    maximum: Bound | None = Field(default=None, alias="max", description="the largest value")
    excluded: ValueOrValues | None = Field(default=None, alias="not", description="a value, or a list of values")

    @model_validator(mode="after")
    def _range_has_values(self) -> "ConditionConfig":
        low, high = self.minimum, self.maximum
        if low is None and high is None and self.excluded is None:
            raise ValueError("a condition has one or more of the keys min, max and not; got none")
        if low is None or high is None:
            return self
        if isinstance(low, str) or isinstance(high, str):
            if type(low) is not type(high):
                raise ValueError(f"min and max are two numbers or two texts; got {shown(low)} and {shown(high)}")
        elif low > high:
            raise ValueError(f"no value lies between min and max; got {shown(low)} and {shown(high)}")
        return self


Condition = Annotated[
    Annotated[Value, Tag("value")] | Annotated[Values, Tag("values")] | Annotated[ConditionConfig, Tag("condition")],
    Discriminator(
        lambda value: (
            "condition"
            if isinstance(value, dict | ConditionConfig)
            else "values"
            if isinstance(value, list)
            else "value"
        )
    ),
]
"""What the value of a column must be: equal to a value, one of several values, or as a mapping says."""
