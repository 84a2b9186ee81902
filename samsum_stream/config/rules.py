"""Translates the validation errors of pydantic to the messages of a config.

loc ("lanes", "constrained-int")  ──▶  lanes: must be "auto" or a whole number of 1 or more; got 0 (whole number)
"""

import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Discriminator, Tag, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from samsum_stream.config.problems import Path, Problem, dotted
from samsum_stream.errors.wording import closest, did_you_mean, quoted, shown, without_secrets

_SEVERAL = "several_problems"


@dataclass(frozen=True)
class Rule:
    """Annotates a type with the text of its rule: messages say `must be {text}`."""

    text: str


def several(problems: Iterable[tuple[Path, str]]) -> PydanticCustomError:
    """The error that a validator raises for problems at paths below its own path."""
    return PydanticCustomError(_SEVERAL, "several problems", {"problems": list(problems)})


def problems_of(error: ValidationError, *, model: type[BaseModel], older_keys: Sequence[str] = ()) -> list[Problem]:
    """The problems in the order of the model, without duplicates; `older_keys` are further known keys at the top."""
    unique: dict[tuple[Path, str], Problem] = {}
    for details in error.errors(include_url=False):
        for problem in _translated(details, model, older_keys):
            unique.setdefault((problem.path, problem.text), problem)
    return list(unique.values())


def _translated(details: ErrorDetails, model: type[BaseModel], older_keys: Sequence[str]) -> Iterator[Problem]:
    path, annotation = _descend(model, details["loc"])
    context = details.get("ctx", {})
    if details["type"] == _SEVERAL:
        yield from (Problem((*path, *below), text) for below, text in context["problems"])
    elif details["type"] == "extra_forbidden":
        yield Problem(path, _unknown_key(path, model, older_keys))
    elif details["type"] == "missing":
        yield Problem(path, f"this key is missing; write {_description(model, path)}")
    elif details["type"] == "value_error":
        yield Problem(path, str(context["error"]))
    elif details["loc"][-1:] == ("[key]",):
        yield Problem(path, f"a key must be text; got {shown(details['input'])} as a key")
    elif details["type"] == "invalid_key":
        yield Problem(path[:-1], f"a key must be text; got {shown(path[-1])} as a key")
    else:
        yield Problem(path, _must_be(annotation, details["input"], key=str(path[-1]) if path else ""))


def _descend(model: Any, loc: Path) -> tuple[Path, Any]:
    """The path in the file and its type; `loc` also contains branches of unions, which are not in the file."""
    path: Path = ()
    annotation: Any = model
    for part in loc[:-2] if loc[-1:] == ("[key]",) else loc:
        holder = _holder(annotation)
        if holder is None:
            break
        if part in (tags := _tags(annotation)):
            if _holder(tags[part]) is None:
                break
            continue
        path, annotation = (*path, part), _below(holder, part)
    return path, annotation


def _holder(annotation: Any) -> Any:
    """The model or the dict among the types of an annotation; None if the value has no keys."""
    for leaf in map(_base, _leaves(annotation)):
        if get_origin(leaf) is dict or _is_model(leaf):
            return leaf
    return None


def _below(holder: Any, part: str | int) -> Any:
    if get_origin(holder) is dict:
        return get_args(holder)[1]
    field = _fields(holder).get(str(part))
    if field is None:
        return Any
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model by the keys of the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _tags(annotation: Any) -> dict[str | int, Any]:
    """The branches of a union by their names, which are part of a location below it."""
    notes = ((leaf, note) for leaf in _leaves(annotation) for note in get_args(leaf)[1:])
    return {note.tag: leaf for leaf, note in notes if isinstance(note, Tag)}


def _leaves(annotation: Any) -> list[Any]:
    """The types of a union, with their `Annotated` metadata."""
    if any(isinstance(note, Discriminator) for note in getattr(annotation, "__metadata__", ())):
        return _leaves(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [leaf for part in get_args(annotation) for leaf in _leaves(part)]
    return [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _must_be(annotation: Any, value: Any, *, key: str) -> str:
    names = _names(annotation)
    got = f"got {shown(value, key=key)}"
    if names and len(names) > 1:
        ending = did_you_mean(value, names) if isinstance(value, str) else did_you_mean("", names)
        return f"must be a known name; {got}; {ending}"
    remedy = _remedy([_base(leaf) for leaf in _leaves(annotation)], value, key)
    return f"must be {_rule(annotation)}; {got}{remedy}"


def _names(annotation: Any) -> list[str]:
    """The names that a `Literal` allows; empty for other types and for unions."""
    return list(get_args(annotation)) if get_origin(annotation) is Literal else []


def _rule(annotation: Any) -> str:
    leaves = _leaves(annotation)
    rules = dict.fromkeys(_rule_of_leaf(leaf) for leaf in leaves if leaf is not types.NoneType)
    return " or ".join(rules) + (", or null" if types.NoneType in leaves else "")


def _rule_of_leaf(leaf: Any) -> str:
    if get_origin(leaf) is Annotated:
        texts = [note.text for note in get_args(leaf)[1:] if isinstance(note, Rule)]
        return texts[0] if texts else _rule(get_args(leaf)[0])
    if get_origin(leaf) is Literal:
        return " or ".join(quoted(name) for name in get_args(leaf))
    if _is_model(leaf):
        return f"a mapping with the keys {', '.join(_fields(leaf))}"
    rules = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    return rules.get(leaf, "a mapping")


def _base(leaf: Any) -> Any:
    return get_args(leaf)[0] if get_origin(leaf) is Annotated else leaf


def _remedy(accepted: list[Any], value: Any, key: str) -> str:
    """How to write the value that was probably meant; empty if that is unknown."""
    if isinstance(value, str):
        return _remedy_for_text(accepted, value)
    if str in accepted and isinstance(value, (bool, int, float)) and key:
        return "; write it in quotes"
    if int in accepted and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    if value is None and any(_is_model(leaf) for leaf in accepted):
        return "; leave the key out for the defaults"
    return ""


def _remedy_for_text(accepted: list[Any], value: str) -> str:
    is_number = value.strip().lstrip("+-").isdecimal()
    if (is_number and int in accepted) or (value in ("true", "false") and bool in accepted):
        return f"; write {value} without quotes"
    if any(_is_model(leaf) and "method" in leaf.model_fields for leaf in accepted):
        return f"; write {{method: {without_secrets(value)}}}" if value.isidentifier() else ""
    names = [name for leaf in accepted if get_origin(leaf) is Literal for name in get_args(leaf)]
    near = closest(value, [name for name in names if isinstance(name, str)])
    return f'; did you mean "{near}"?' if near is not None else ""


def _unknown_key(path: Path, model: type[BaseModel], older_keys: Sequence[str]) -> str:
    name = str(path[-1])
    sections = [dotted(section) for section in _sections_with(model, name)]
    if sections:
        return f"unknown key here; it belongs in {' or '.join(sections)}"
    known = list(_fields(_holder(_descend(model, path[:-1])[1])))
    return f"unknown key; {did_you_mean(name, [*known, *older_keys] if len(path) == 1 else known)}"


def _sections_with(model: Any, name: str, above: Path = ()) -> Iterator[Path]:
    """The sections of a config that have the key: `max_length` belongs in `packing_config.kwargs`."""
    for key, field in model.model_fields.items():
        holder = _holder(field.annotation)
        if not _is_model(holder):
            continue
        if name in holder.model_fields and name not in ("method", "kwargs"):
            yield (*above, key)
        yield from _sections_with(holder, name, (*above, key))


def _description(model: type[BaseModel], path: Path) -> str:
    holder = _holder(_descend(model, path[:-1])[1])
    return str(_fields(holder)[str(path[-1])].description)
