"""Reads YAML into plain data with the line of every key, and reports values that YAML reads unexpectedly.

text ──compose (safe loader)──▶ nodes with lines ──▶ dicts, lists and scalars + lines + problems
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml

from samsum_stream.config.problems import Locations, Path, Problem, config_error
from samsum_stream.config.yaml_scalars import MAX_DIGITS, misread
from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import names_a_secret, quoted, shown, without_secrets

MAX_CHARACTERS = 1_000_000
"""The limit for the length of a file; a longer file is data, not a config."""

MAX_REPEATS = 1_000
"""The limit for values repeated by aliases: nine aliases per level on nine levels repeat four hundred million."""

_STANDARD = "tag:yaml.org,2002:"
_NUMBERS = (f"{_STANDARD}int", f"{_STANDARD}float")

_SURROGATE = re.compile("[\ud800-\udfff]")
_HALF_A_CHARACTER = r"an escape from \ud800 to \udfff is half of a character; write the character itself"


@dataclass
class Document:
    """The data of one YAML file, and its problems so far."""

    origin: str
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    """The line of every key, and of every item of a list; the first line is 1."""
    problems: list[Problem] = field(default_factory=list)


def read_yaml(path: str | os.PathLike[str]) -> Document:
    """Reads a file, and collects its problems.

    Raises:
        ConfigError: The file cannot be read, or is not one YAML mapping.
    """
    origin = os.fspath(path)
    try:
        with open(path, "rb") as file:
            content = file.read(4 * MAX_CHARACTERS + 1)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{origin}:{line}: not UTF-8 text; save the file as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{origin}: the config cannot be read: {error.strerror}") from error
    return parse_yaml(text, origin=origin)


def parse_yaml(text: str, *, origin: str) -> Document:
    """Parses a text like `read_yaml`; messages start with `origin`."""
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{origin}: longer than {MAX_CHARACTERS:,} characters, so it is data and not a config")
    with _yaml_errors_as_config_errors(text, origin):
        loader = yaml.SafeLoader(text)
        try:
            root = _composed(loader, origin)
            return _Builder(loader, origin).document(root)
        finally:
            loader.dispose()


def _composed(loader: yaml.SafeLoader, origin: str) -> yaml.Node | None:
    try:
        root: yaml.Node | None = loader.get_single_node()
    except (ValueError, OverflowError) as error:  # PyYAML calls `chr` with the number in an escape
        text = f"an escape such as \\U0001F600 is not a character ({error}); write the character itself"
        raise ConfigError(f"{origin}:{loader.line + 1}: invalid YAML: {text}") from None
    return root


@contextmanager
def _yaml_errors_as_config_errors(text: str, origin: str) -> Iterator[None]:
    try:
        yield
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax_message(error, origin)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"invalid YAML: the character U+{int(error.character):04X} is not allowed; remove it"
        raise ConfigError(f"{origin}:{line}: {message}") from None
    except RecursionError:
        raise ConfigError(f"{origin}: nested too deeply for a config") from None


def _syntax_message(error: yaml.MarkedYAMLError, origin: str) -> str:
    mark = error.problem_mark or error.context_mark
    start = f"{origin}:{mark.line + 1}" if mark is not None else origin
    parts = [part for part in (error.context, error.problem) if part]
    return f"{start}: invalid YAML: {without_secrets(', '.join(parts))}{_syntax_remedy(str(error.problem))}"


def _syntax_remedy(problem: str) -> str:
    if "'\\t'" in problem:
        return "; indent with spaces instead of tabs"
    if "mapping values are not allowed" in problem:
        return "; indent the key like its neighbors, or put a value that contains a colon and a space in quotes"
    if "<block end>" in problem:
        return "; give all keys of a mapping, or all items of a list, the same indent"
    return ""


class _Builder:
    """Walks the composed nodes once; constructs only safe values, and ignores the constructors of tags."""

    def __init__(self, loader: yaml.SafeLoader, origin: str) -> None:
        self._loader = loader
        self._document = Document(origin)
        self._seen: set[int] = set()
        self._open: set[int] = set()
        self._repeats = 0

    def document(self, root: yaml.Node | None) -> Document:
        if root is None or (isinstance(root, yaml.ScalarNode) and root.value == ""):
            raise ConfigError(f"{self._document.origin}: the config is empty; it needs at least source_config")
        data = self._value(root, ())
        if not isinstance(data, dict):
            where = f"{self._document.origin}:{_line(root)}"
            raise ConfigError(f"{where}: a config is a mapping of keys to values; got {shown(data)}")
        self._document.data = data
        return self._document

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._count(node, path)
        if id(node) in self._open:
            return self._problem(path, "an alias refers to a value that contains it; write the value out")
        self._open.add(id(node))
        try:
            return self._plain(node, path)
        finally:
            self._open.remove(id(node))

    def _plain(self, node: yaml.Node, path: Path) -> Any:
        if node.tag != self._implicit_tag(node):
            tag = quoted(node.tag.replace(_STANDARD, "!!"))
            text = f"the tag {tag} is not allowed, because a config contains only data; remove the tag"
            return self._problem(path, text, node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, path)
        return self._scalar(node, path) if isinstance(node, yaml.ScalarNode) else None

    def _implicit_tag(self, node: yaml.Node) -> Any:
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        resolve: Any = self._loader.resolve
        return resolve(type(node), node.value if is_plain else None, (is_plain, not is_plain))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            line = _line(key_node)
            if key in first_lines:
                text = f"the key occurs twice, on line {first_lines[key]} and on line {line}; keep one of the two"
                self._problem((*path, key), text, key_node)
            first_lines.setdefault(key, line)
            self._document.lines[*path, key] = line
            data[key] = self._value(value_node, (*path, key))
        return data

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        if node.tag == f"{_STANDARD}merge":
            self._problem(path, "merge keys (<<) are not supported; write the keys out", node)
        elif not isinstance(node, yaml.ScalarNode):
            self._problem(path, "a key must be text; got a list or a mapping as a key", node)
        elif node.tag != f"{_STANDARD}str":
            name = without_secrets(node.value)
            reading = f"YAML reads {name} as {shown(self._construct(node))}"
            self._problem(path, f"a key must be text; {reading}; write {quoted(name)} in quotes", node)
        elif _SURROGATE.search(node.value):
            self._problem(path, _HALF_A_CHARACTER, node)
        else:
            return str(node.value)
        return None

    def _sequence(self, node: yaml.SequenceNode, path: Path) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self._document.lines[*path, index] = _line(item)
            items.append(self._value(item, (*path, index)))
        return items

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        value = self._construct(node)
        if _SURROGATE.search(node.value):
            return self._problem(path, _HALF_A_CHARACTER, node)
        warning = misread(node.value, value) if node.style is None else None
        if warning is None:
            return value
        if any(names_a_secret(str(key)) for key in path):
            warning = "YAML reads this unquoted value differently than it looks; write it in quotes"
        return self._problem(path, warning, node)

    def _construct(self, node: yaml.Node) -> Any:
        if node.tag in _NUMBERS and len(node.value) > MAX_DIGITS:
            return object()
        try:
            return self._loader.construct_object(node)
        except (ValueError, yaml.constructor.ConstructorError):
            # A date such as 2024-02-31, or a single "=": YAML gives these scalars a special type, but no value.
            return object()

    def _count(self, node: yaml.Node, path: Path) -> None:
        self._repeats += id(node) in self._seen
        self._seen.add(id(node))
        if self._repeats > MAX_REPEATS:
            locations = Locations(self._document.origin, self._document.lines)
            text = f"aliases repeat more than {MAX_REPEATS:,} values; write the values out"
            raise config_error([Problem(path, text)], locations)

    def _problem(self, path: Path, text: str, node: yaml.Node | None = None) -> None:
        self._document.problems.append(Problem(path, text, None if node is None else _line(node)))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
