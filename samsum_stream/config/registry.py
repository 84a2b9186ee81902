"""Names to callables: registered ones from a literal table, `path.to.module::name` for trusted modules only.

"load_dataset"      ──table──────────────────────────────────────────▶ callable
"my_pkg.data::rows" ──trusted?──▶ import ──callable, defined there?──▶ callable
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, TypeVar

from samsum_stream.errors import ConfigError, TrustError
from samsum_stream.errors.wording import did_you_mean, quoted, shown

T = TypeVar("T")


def resolve(name: str, *, table: Mapping[str, T], kind: str, trust: Sequence[str] = (), where: str = "") -> T | Any:
    """The callable behind a name in a config; nothing is imported before the caller's trust is checked.

    `kind` is what messages call it ("source"); `where` is the start of a message, as `StreamConfig.where` gives it.
    """
    start = f"{where}: " if where else ""
    if isinstance(trust, str):
        raise ConfigError(f"trust is a list of module names; got {shown(trust)}; write trust=[{quoted(trust)}]")
    if name in table:
        return table[name]
    if "::" not in name:
        known = did_you_mean(name, table)
        raise ConfigError(f"{start}no {kind} is named {quoted(name)} (code of your own: path.to.module::name); {known}")
    module_name, attribute = _split(name, start)
    if not _covers(trust, module_name):
        raise TrustError(f"{start}{_untrusted(name, module_name)}")
    return _defined_callable(_imported(module_name, start), attribute, trust, f"{start}{quoted(name)}")


def call(function: Callable[..., Any], kwargs: Mapping[str, Any], *, where: str) -> Any:
    """Calls a function with kwargs from a config; kwargs that do not fit its signature are told first.

    `where` is the place of the kwargs: `prompt_config.kwargs`.
    """
    problems = _misfits(function, kwargs)
    if problems:
        raise ConfigError("\n".join(f"{where}.{problem}" for problem in problems))
    try:
        return function(**kwargs)
    except ConfigError as error:
        raise type(error)(f"{where}: {error}") from error


def _split(name: str, start: str) -> tuple[str, str]:
    module_name, _, attribute = name.partition("::")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise ConfigError(f"{start}a name of your own code reads path.to.module::name; got {quoted(name)}")
    if attribute.startswith("_"):
        raise ConfigError(f"{start}a name that starts with an underscore is private; got {quoted(name)}")
    return module_name, attribute


def _covers(trust: Sequence[str], module_name: str) -> bool:
    """Whole dotted segments: `my_pkg` covers `my_pkg` and `my_pkg.data`, and not `my_pkgs`."""
    return any(module_name == trusted or module_name.startswith(f"{trusted}.") for trusted in trust)


def _untrusted(name: str, module_name: str) -> str:
    package = module_name.partition(".")[0]
    how = f'SFTStream.from_yaml(..., trust=["{package}"])'
    return f"{quoted(name)} would import code, and a config alone may not; if you trust {package}, say so: {how}"


def _imported(module_name: str, start: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        remedy = "mend it, or put its folder on PYTHONPATH if it is not found"
        raise ConfigError(f"{start}the module {module_name} cannot be imported ({cause}); {remedy}") from error


def _defined_callable(module: ModuleType, attribute: str, trust: Sequence[str], subject: str) -> Any:
    found = getattr(module, attribute, None)
    if found is None:
        raise ConfigError(f"{subject}: {module.__name__} has no {attribute}; {_own_names(module, attribute, trust)}")
    if not callable(found):
        raise ConfigError(f"{subject} is of type {type(found).__name__}; name a function or a class")
    home = _home(found)
    if not _is_trusted_home(home, module.__name__, trust):
        raise TrustError(f"{subject} is not defined in {module.__name__} but in {_trust_of_home(home)}")
    return found


def _own_names(module: ModuleType, attribute: str, trust: Sequence[str]) -> str:
    names = [name for name in vars(module) if not name.startswith("_")]
    own = [name for name in names if callable(vars(module)[name]) and _covers(trust, _home(vars(module)[name]))]
    return did_you_mean(attribute, own)


def _home(found: Any) -> str:
    """The module whose author wrote the callable; a `partial` is as much its inner function as a name for it."""
    while isinstance(found, functools.partial):
        found = found.func
    home = getattr(found, "__module__", None)
    return home if isinstance(home, str) else ""


def _is_trusted_home(home: str, module_name: str, trust: Sequence[str]) -> bool:
    """A trusted module's imports are not trusted with it: `my_pkg::system` may be `os.system`.

    The standard library is one home: `os.system` is defined in `posix`, and who trusts `os` asked for it.
    """
    both = {home.partition(".")[0], module_name.partition(".")[0]}
    return _covers(trust, home) or both <= sys.stdlib_module_names


def _trust_of_home(home: str) -> str:
    if not home:
        return "a place that Python does not tell; define a function of your own around it"
    return f"{home}; trust {home.partition('.')[0]} as well, or define a function of your own around it"


def _misfits(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # Some builtins tell no signature; calling them is the only check there is.
        return []
    named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    names = [each.name for each in named]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    unknown = [] if takes_any else [name for name in kwargs if name not in names]
    needed = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    missing = [each.name for each in needed if each.default is each.empty and each.name not in kwargs]
    title = _title(function)
    return [f"{name}: {title} takes no such argument; {did_you_mean(name, names)}" for name in unknown] + [
        f"{name}: {title} needs this argument; known: {', '.join(names)}" for name in missing
    ]


def _title(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
