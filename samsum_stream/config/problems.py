"""Problems of a config, each with its place, told together in one `ConfigError`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import quoted, without_secrets

Path = tuple[str | int, ...]
"""Keys and list indices from the top of a config down to a value."""


@dataclass(frozen=True)
class Problem:
    """One broken rule; `line` is for places that the path's own line does not tell."""

    path: Path
    text: str
    line: int | None = None


@dataclass(frozen=True)
class Places:
    """Where a config was read; two configs that say the same are equal wherever they stand."""

    origin: str = field(default="config", compare=False)
    lines: Mapping[Path, int] = field(default_factory=dict, compare=False)
    written_as: Mapping[Path, Path] = field(default_factory=dict, compare=False)
    """The path in the file, for values that stand elsewhere in the older layout."""

    def line(self, path: Path) -> int | None:
        """The line of a key, or of the nearest key above it that stands in the file."""
        path = self.written_as.get(path, path)
        known = (path[:depth] for depth in range(len(path), -1, -1) if path[:depth] in self.lines)
        return next((self.lines[above] for above in known), None)

    def where(self, path: Path, *, line: int | None = None) -> str:
        """The start of a message: `configs/samsum.yaml:3: source_config.method`."""
        line = self.line(path) if line is None else line
        start = self.origin if line is None else f"{self.origin}:{line}"
        name = dotted(self.written_as.get(path, path))
        return f"{start}: {name}" if name else start


def dotted(path: Path) -> str:
    """A path as people write it: `source_config.kwargs.path[0]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_readable(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def config_error(problems: Iterable[Problem], places: Places) -> ConfigError:
    """One error for all problems, a line each, in the order of the file."""
    placed = [(places.line(each.path) if each.line is None else each.line, each) for each in problems]
    placed.sort(key=lambda pair: pair[0] or 0)
    return ConfigError("\n".join(f"{places.where(each.path, line=line)}: {each.text}" for line, each in placed))


def _readable(key: str) -> str:
    masked = without_secrets(key)
    return masked if masked.isprintable() and 0 < len(masked) <= 60 else quoted(masked)
