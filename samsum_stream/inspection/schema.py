"""The JSON schema of the YAML, by which editors complete and check a config while it is written.

    StreamConfig ──────────────▶ keys, types, bounds, descriptions ┐
    SOURCES, PROMPTS, FORMATS ──signatures──▶ kwargs of each method ├─▶ one schema
    rules between keys, older keys ────────────────────────────────┘

A schema cannot say everything that loading a config checks: keys that stand twice, values that YAML reads as something
else than they look, 8.0 where 8 is meant, a `chunksize` beside another `max_length`, the placeholders of templates,
and whether files, columns and modules are there.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from samsum_stream.config.models import COLLATOR_KWARGS, COLUMN_NAMES, MIXTURE, MixtureKwargs, PositiveInt, StreamConfig
from samsum_stream.prompts import FORMATS, PROMPTS
from samsum_stream.sources import SOURCES

Schema = dict[str, Any]

_OWN_CODE = {"type": "string", "pattern": "^[^:]+::[^:]+$", "description": "code of your own: path.to.module::name"}


class _Untitled(GenerateJsonSchema):
    """Fields need no titles, which would say their names once more."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def config_schema() -> Schema:
    """The schema of a config, in draft 2020-12."""
    types: dict[str, Any] = {**SOURCES, **PROMPTS, **FORMATS, MIXTURE: MixtureKwargs, "chunksize": PositiveInt}
    types["config"] = StreamConfig
    made, shared = TypeAdapter.json_schemas(
        [(name, "validation", TypeAdapter(each)) for name, each in types.items()], schema_generator=_Untitled
    )
    sections: dict[str, Schema] = shared["$defs"]
    for section in sections.values():
        section.setdefault("additionalProperties", False)  # of dataclasses
    sections |= {name: made[name, "validation"] for name in SOURCES}
    sections[MIXTURE] = sections.pop("MixtureKwargs")
    _correct_messages(sections)
    for name in ("SourceConfig", "MixtureChild"):
        _name_methods(sections[name], {**SOURCES, MIXTURE: MixtureKwargs}, sections)
        _bind_columns(sections[name])
    _name_methods(sections["PromptConfig"], PROMPTS, sections)
    _name_methods(sections["PromptFormatConfig"], FORMATS, sections)
    _bind_collator_kwargs(sections["CollatorConfig"])
    _bind_faults(sections["FaultConfig"])
    top = sections.pop("StreamConfig")
    _bind_padded(top)
    _add_older_keys(top, made["chunksize", "validation"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": sections}


def _name_methods(section: Schema, table: Mapping[str, Callable[..., Any]], sections: Mapping[str, Schema]) -> None:
    """The names that `method` can have, with what each is for, and the kwargs of each, which stand in `sections`."""
    method = section["properties"]["method"]
    known: list[Schema] = [{"const": name, "description": _first_line(each)} for name, each in table.items()]
    nothing = [{"type": "null"}] if {"type": "null"} in method.get("anyOf", []) else []
    kept = {key: method[key] for key in ("default", "description") if key in method}
    section["properties"]["method"] = {"anyOf": [*known, _OWN_CODE, *nothing], **kept}
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
    """Those of our names, of which two are one column's; a mixture has none of its own."""
    columns = section["properties"]["columns"]
    columns["propertyNames"] = {"enum": list(COLUMN_NAMES)}
    columns["not"] = {"required": ["contexts", "context"]}
    section["allOf"].append(_where("method", MIXTURE, {"columns": {"maxProperties": 0}}))


def _correct_messages(sections: Schema) -> None:
    """Examples of a prompt show an answer, and one string counts as a list of contexts; a format is named elsewhere."""
    message = sections["Message"]
    message["required"] = ["input", "response"]
    message["properties"]["response"] = {"type": "string"}
    message["properties"]["contexts"] = {"anyOf": [message["properties"]["contexts"], {"type": ["string", "null"]}]}
    for name in PROMPTS:
        sections[name]["properties"]["format"] = {"type": "null", "description": "stands in prompt_format_config"}


def _bind_collator_kwargs(section: Schema) -> None:
    default = section["properties"]["method"]["default"]
    section["allOf"] = [
        _where("method", name, {"kwargs": {"propertyNames": {"enum": list(names)}}}, is_default=name == default)
        for name, names in COLLATOR_KWARGS.items()
    ]


def _bind_faults(section: Schema) -> None:
    """A limit is for rows that are skipped, and needed there: a whole number of rows, or a share below 1."""
    limit = {"anyOf": [{"type": "integer", "minimum": 1}, {"exclusiveMinimum": 0, "exclusiveMaximum": 1}]}
    unset = {"enum": [0, None]}
    section["properties"]["quarantine_path"]["not"] = {"type": "string", "pattern": "://"}
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
        "chunksize": {**chunksize, "deprecated": True, "description": "the older name of packing's max_length"},
        "dataset_writer_config": {
            "type": "object",
            "deprecated": True,
            "description": "of the older layout, and ignored: nothing is written to disk",
        },
    }


def _where(key: str, value: str, then: Schema, *, needs: Sequence[str] = (), is_default: bool = False) -> Schema:
    """What the other keys must be where `key` is `value`, or is left out if that means the same."""
    found: Schema = {"properties": {key: {"const": value}}}
    return {
        "if": found if is_default else {**found, "required": [key]},
        "then": {"properties": then, **({"required": needs} if needs else {})},
    }


def _first_line(method: Callable[..., Any]) -> str:
    return (inspect.getdoc(method) or "").partition("\n")[0]
