"""Problems of a config, and the `ConfigError` that lists all of them with their locations."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import quoted, without_secrets

Path = tuple[str | int, ...]
"""The keys and list indices from the top of a config to a value."""


@dataclass(frozen=True)
class Problem:
    """One broken rule; `line` overrides the line of the path."""

    path: Path
    text: str
    line: int | None = None


@dataclass(frozen=True)
class Locations:
    """The origin and the lines of a config; all instances are equal, so that configs are compared by content alone."""

    origin: str = field(default="config", compare=False)
    lines: Mapping[Path, int] = field(default_factory=dict, compare=False)
    written_as: Mapping[Path, Path] = field(default_factory=dict, compare=False)
    """The path in the file, for values that the older layout has at another path."""
    sections: Mapping[str, Path] = field(default_factory=dict, compare=False)
    """The path in the file, for sections that a child of a mixture has for itself."""

    def with_sections(self, sections: Mapping[str, Path]) -> "Locations":
        """The same with sections that are at other paths."""
        return replace(self, sections=sections)

    def _in_file(self, path: Path) -> Path:
        if path and path[0] in self.sections:
            path = (*self.sections[str(path[0])], *path[1:])
        return self.written_as.get(path, path)

    def line(self, path: Path) -> int | None:
        """The line of a key, or of its nearest parent that is in the file."""
        path = self._in_file(path)
        parents = (path[:depth] for depth in range(len(path), -1, -1))
        return next((self.lines[parent] for parent in parents if parent in self.lines), None)

    def where(self, path: Path, *, line: int | None = None) -> str:
        """The start of a message: `configs/samsum.yaml:3: source_config.method`."""
        line = self.line(path) if line is None else line
        start = self.origin if line is None else f"{self.origin}:{line}"
        name = dotted(self._in_file(path))
        return f"{start}: {name}" if name else start


def dotted(path: Path) -> str:
    """A path as text: `source_config.kwargs.path[0]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_readable(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def config_error(problems: Iterable[Problem], locations: Locations) -> ConfigError:
    """One error for all problems, with one line per problem, in the order of the file."""
    lines = [(locations.line(problem.path) if problem.line is None else problem.line, problem) for problem in problems]
    lines.sort(key=lambda pair: pair[0] or 0)
    messages = (f"{locations.where(problem.path, line=line)}: {problem.text}" for line, problem in lines)
    return ConfigError("\n".join(messages))


def _readable(key: str) -> str:
    masked = without_secrets(key)
    return masked if masked.isprintable() and 0 < len(masked) <= 60 else quoted(masked)
