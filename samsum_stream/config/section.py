"""The base of all sections of a config."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A strict, frozen model that forbids unknown keys."""

    # Inputs can contain credentials, so the messages of pydantic must not show them.
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, serialize_by_alias=True
    )
