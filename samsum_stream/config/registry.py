"""Resolves names to callables: registered names from a table, and `path.to.module::name` for trusted modules only.

"load_dataset"      ──table──────────────────────────────────────────▶ callable
"my_pkg.data::rows" ──trusted?──▶ import ──callable, defined there?──▶ callable
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from types import ModuleType
from typing import Any, TypeVar

from samsum_stream.errors import ConfigError, TrustError
from samsum_stream.errors.wording import did_you_mean, quoted, shown

T = TypeVar("T")

_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def resolve(name: str, *, table: Mapping[str, T], kind: str, trust: Sequence[str] = (), where: str = "") -> T | Any:
    """The callable that a name in a config refers to; trust is checked before anything is imported.

    Args:
        name: A key of `table`, or `path.to.module::name`.
        table: The registered callables by name.
        kind: The noun for messages, such as "source".
        trust: The modules that the caller trusts; a module covers its submodules.
        where: The start of messages, as `StreamConfig.where` returns it.

    Raises:
        ConfigError: The name is unknown or malformed, or its module cannot be imported or has no such callable.
        TrustError: `trust` does not cover the module, or the module that defines the callable.
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
    """Calls a function with kwargs from a config, after comparing them with its signature.

    `where` is the path of the kwargs, such as `prompt_config.kwargs`.

    Raises:
        ConfigError: An argument is unknown or missing, or the function raised this error.
    """
    problems = _signature_problems(function, kwargs)
    if problems:
        raise ConfigError("\n".join(f"{where}.{problem}" for problem in problems))
    try:
        return function(**kwargs)
    except ConfigError as error:
        raise type(error)(f"{where}: {error}") from error


def _split(name: str, start: str) -> tuple[str, str]:
    module_name, _, attribute = name.partition("::")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise ConfigError(f"{start}a name of your own code has the form path.to.module::name; got {quoted(name)}")
    if attribute.startswith("_"):
        raise ConfigError(f"{start}a name that starts with an underscore is private; got {quoted(name)}")
    return module_name, attribute


def _covers(trust: Sequence[str], module_name: str) -> bool:
    """Compares whole dotted segments: `my_pkg` covers `my_pkg` and `my_pkg.data`, but not `my_pkgs`."""
    return any(module_name == trusted or module_name.startswith(f"{trusted}.") for trusted in trust)


def _untrusted(name: str, module_name: str) -> str:
    package = module_name.partition(".")[0]
    remedy = f'if you trust {package}, write SFTStream.from_yaml(..., trust=["{package}"])'
    return f"{quoted(name)} would import code, which a config alone may not do; {remedy}"


def _imported(module_name: str, start: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        remedy = "fix it, or add its folder to PYTHONPATH if it is not found"
        raise ConfigError(f"{start}the module {module_name} cannot be imported ({cause}); {remedy}") from error


def _defined_callable(module: ModuleType, attribute: str, trust: Sequence[str], subject: str) -> Any:
    value = getattr(module, attribute, None)
    if value is None:
        raise ConfigError(f"{subject}: {module.__name__} has no {attribute}; {_known_names(module, attribute, trust)}")
    if not callable(value):
        raise ConfigError(f"{subject} is of type {type(value).__name__}; name a function or a class")
    definer = _defining_module(value)
    if not _is_trusted(definer, module.__name__, trust):
        raise TrustError(f"{subject} is not defined in {module.__name__} but in {_remedy_for(definer)}")
    return value


def _known_names(module: ModuleType, attribute: str, trust: Sequence[str]) -> str:
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    known = [name for name, value in public.items() if callable(value) and _covers(trust, _defining_module(value))]
    return did_you_mean(attribute, known)


def _defining_module(value: Any) -> str:
    """The name of the module that defines a callable, or of the inner function if it is a `partial`."""
    while isinstance(value, functools.partial):
        value = value.func
    name = getattr(value, "__module__", None)
    return name if isinstance(name, str) else ""


def _is_trusted(definer: str, module_name: str, trust: Sequence[str]) -> bool:
    """Trust in a module does not include what it imports: `my_pkg::system` can be `os.system`.

    The standard library counts as one module: `posix` defines `os.system`, and trust in `os` includes it.
    """
    both = {definer.partition(".")[0], module_name.partition(".")[0]}
    return _covers(trust, definer) or both <= sys.stdlib_module_names


def _remedy_for(definer: str) -> str:
    if not definer:
        return "an unknown module; wrap it in a function of your own"
    return f"{definer}; trust {definer.partition('.')[0]} as well, or wrap it in a function of your own"


def _signature_problems(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # Some builtins have no signature, so that only the call itself can check the arguments.
        return []
    names = [parameter.name for parameter in parameters if parameter.kind in _BY_NAME]
    takes_any = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
    unknown = [] if takes_any else [name for name in kwargs if name not in names]
    single = [parameter for parameter in parameters if parameter.kind not in _VARIADIC]
    required = [parameter.name for parameter in single if parameter.default is Parameter.empty]
    missing = [name for name in required if name not in kwargs]
    title = _title(function)
    return [f"{name}: {title} takes no such argument; {did_you_mean(name, names)}" for name in unknown] + [
        f"{name}: {title} needs this argument; known: {', '.join(names)}" for name in missing
    ]


def _title(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
