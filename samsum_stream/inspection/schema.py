"""The JSON schema of the YAML, with which editors complete and check a config.

    StreamConfig ──────────────▶ keys, types, bounds, descriptions ┐
    SOURCES, PROMPTS, FORMATS ──signatures──▶ kwargs of each method ├─▶ one schema
    rules between keys, older keys ────────────────────────────────┘

The schema does not contain every rule that is checked when a config is loaded. The following rules are missing:
duplicate keys, values that YAML reads differently than they look, 8.0 instead of 8, a `chunksize` that differs from
`max_length`, the placeholders of templates, the columns that they name, and whether files, columns and modules exist.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from samsum_stream.config.fields import COLUMN_NAMES, PositiveInt
from samsum_stream.config.models import COLLATOR_KWARGS, StreamConfig
from samsum_stream.config.source import MIXTURE, MixtureKwargs
from samsum_stream.prompts import FORMATS_OF_CONFIG, PROMPTS
from samsum_stream.sources import SOURCES

Schema = dict[str, Any]

_OWN_CODE = {"type": "string", "pattern": "^[^:]+::[^:]+$", "description": "your own code: path.to.module::name"}


class _Untitled(GenerateJsonSchema):
    """Omits the titles of fields, which would repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def config_schema() -> Schema:
    """The schema of a config, in draft 2020-12."""
    types: dict[str, Any] = {
        **SOURCES,
        **PROMPTS,
        **FORMATS_OF_CONFIG,
        MIXTURE: MixtureKwargs,
        "chunksize": PositiveInt,
    }
    types["config"] = StreamConfig
    schemas, shared = TypeAdapter.json_schemas(
        [(name, "validation", TypeAdapter(type_)) for name, type_ in types.items()], schema_generator=_Untitled
    )
    sections: dict[str, Schema] = shared["$defs"]
    for section in sections.values():
        section.setdefault("additionalProperties", False)  # pydantic does not set it for dataclasses
    sections |= {name: schemas[name, "validation"] for name in SOURCES}
    sections[MIXTURE] = sections.pop("MixtureKwargs")
    _correct_messages(sections)
    for name in ("SourceConfig", "MixtureChild"):
        _name_methods(sections[name], {**SOURCES, MIXTURE: MixtureKwargs}, sections)
        _bind_columns(sections[name])
    _name_methods(sections["PromptConfig"], PROMPTS, sections)
    _name_methods(sections["PromptFormatConfig"], FORMATS_OF_CONFIG, sections)
    _bind_collator_kwargs(sections["CollatorConfig"])
    _bind_faults(sections["FaultConfig"])
    top = sections.pop("StreamConfig")
    _bind_padded(top)
    _add_older_keys(top, schemas["chunksize", "validation"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": sections}


def _name_methods(section: Schema, table: Mapping[str, Callable[..., Any]], sections: Mapping[str, Schema]) -> None:
    """Lists the names of `method` with their descriptions, and binds the kwargs of a method to its section."""
    method = section["properties"]["method"]
    names: list[Schema] = [{"const": name, "description": _first_line(value)} for name, value in table.items()]
    null = [{"type": "null"}] if {"type": "null"} in method.get("anyOf", []) else []
    kept = {key: method[key] for key in ("default", "description") if key in method}
    section["properties"]["method"] = {"anyOf": [*names, _OWN_CODE, *null], **kept}
    section["allOf"] = [
        _where(
            "method",
            name,
            {"kwargs": {"$ref": f"#/$defs/{name}"}},
            needs=["kwargs"] if "required" in sections[name] else [],
            is_default=name == method.get("default"),
        )
        for name in table
    ]


def _bind_columns(section: Schema) -> None:
    """Lists the known column names, and allows one of `contexts` and `context`, and no columns for a mixture."""
    columns = section["properties"]["columns"]
    columns["properties"] = dict.fromkeys(COLUMN_NAMES, columns["additionalProperties"])
    columns["not"] = {"required": ["contexts", "context"]}
    section["allOf"].append(_where("method", MIXTURE, {"columns": {"maxProperties": 0}}))


def _correct_messages(sections: Schema) -> None:
    """Adds the rules of prompts: examples need a response, contexts can be one string, and `format` has its own key."""
    message = sections["Message"]
    message["required"] = ["input", "response"]
    message["properties"]["response"] = {"type": "string"}
    message["properties"]["contexts"] = {"anyOf": [message["properties"]["contexts"], {"type": ["string", "null"]}]}
    for name in PROMPTS:
        sections[name]["properties"]["format"] = {"type": "null", "description": "belongs in prompt_format_config"}


def _bind_collator_kwargs(section: Schema) -> None:
    default = section["properties"]["method"]["default"]
    section["allOf"] = [
        _where("method", name, {"kwargs": {"propertyNames": {"enum": list(names)}}}, is_default=name == default)
        for name, names in COLLATOR_KWARGS.items()
    ]


def _bind_faults(section: Schema) -> None:
    """Requires a limit with `skip` (a whole number of rows, or a share below 1), and allows none with `raise`."""
    limit = {"anyOf": [{"type": "integer", "minimum": 1}, {"exclusiveMinimum": 0, "exclusiveMaximum": 1}]}
    unset = {"enum": [0, None]}
    section["allOf"] = [
        _where("on_bad_row", "skip", {"max_bad_rows": limit}, needs=["max_bad_rows"]),
        _where("on_bad_row", "raise", dict.fromkeys(("max_bad_rows", "quarantine_path"), unset), is_default=True),
    ]


def _bind_padded(top: Schema) -> None:
    padded = {"properties": {"method": {"const": "padded"}}, "required": ["method"]}
    unpacked = {"properties": {"method": {"const": "none"}}}
    top["if"] = {"properties": {"collator_config": padded}, "required": ["collator_config"]}
    top["then"] = {"properties": {"packing_config": unpacked}}


def _add_older_keys(top: Schema, chunksize: Schema) -> None:
    top["properties"] |= {
        "chunksize": {**chunksize, "deprecated": True, "description": "older name of packing_config.kwargs.max_length"},
        "dataset_writer_config": {
            "type": "object",
            "deprecated": True,
            "description": "a key of the older layout; ignored, because nothing is written to disk",
        },
    }


def _where(key: str, value: str, then: Schema, *, needs: Sequence[str] = (), is_default: bool = False) -> Schema:
    """The schema `then` of the other keys if `key` is `value`, or is omitted and `value` is its default."""
    condition: Schema = {"properties": {key: {"const": value}}}
    return {
        "if": condition if is_default else {**condition, "required": [key]},
        "then": {"properties": then, **({"required": needs} if needs else {})},
    }


def _first_line(method: Callable[..., Any]) -> str:
    return (inspect.getdoc(method) or "").partition("\n")[0]
