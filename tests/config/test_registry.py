"""Names in a config are resolved to registered or trusted callables; other names are errors."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samsum_stream.config.registry import call, resolve
from samsum_stream.errors import ConfigError, TrustError

TABLE = {"jsonl": dict, "load_dataset": list}

PACKAGE = {
    "trusted_pkg/__init__.py": "from trusted_pkg.inner import rows\n",
    "trusted_pkg/inner.py": """\
import functools
import os
from os import system
from other_pkg import helper

LIMIT = 3
shell = functools.partial(os.system)


def rows(path, split="train"):
    return [path, split]


@functools.lru_cache
def cached_rows():
    return ["cached"]


class Rows:
    def __call__(self):
        return ["called"]


instance = Rows()
short = functools.partial(rows, "short")


def _private():
    return []
""",
    "trusted_pkg/broken.py": "1 / 0\n",
    "trusted_pkgs.py": "raise SystemExit('imported without trust')\n",
    "other_pkg.py": "def helper():\n    return []\n",
}


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith(("trusted_pkg", "other_pkg"))]:
        del sys.modules[name]


def find(name: str, *, trust: tuple[str, ...] = ("trusted_pkg",)) -> Any:
    return resolve(name, table=TABLE, kind="source", trust=trust)


def problem_of(name: str, *, trust: tuple[str, ...] = ("trusted_pkg",), error: type[ConfigError] = ConfigError) -> str:
    with pytest.raises(error) as caught:
        find(name, trust=trust)
    assert type(caught.value) is error
    return str(caught.value)


def test_a_registered_name_needs_no_trust() -> None:
    assert find("jsonl", trust=()) is dict


def test_the_message_for_a_misspelled_name_lists_the_known_names_and_the_closest() -> None:
    message = problem_of("load_datset")
    assert message.startswith('no source is named "load_datset" (code of your own: path.to.module::name); known: ')
    assert message.endswith('; did you mean "load_dataset"?')


def test_a_message_starts_with_its_location() -> None:
    with pytest.raises(ConfigError, match=r"^a\.yaml:3: source_config\.method: no source is named"):
        resolve("jsnl", table=TABLE, kind="source", where="a.yaml:3: source_config.method")


@pytest.mark.parametrize("name", ["trusted_pkg::rows", "trusted_pkg.inner::rows"])
def test_trust_covers_a_module_and_its_submodules(name: str) -> None:
    assert find(name)("a") == ["a", "train"]
    assert find("trusted_pkg.inner::rows", trust=("trusted_pkg.inner",))("a") == ["a", "train"]


@pytest.mark.parametrize("name", ["cached_rows", "Rows", "instance", "short"])
def test_any_callable_that_the_trusted_module_defines_works(name: str) -> None:
    assert callable(find(f"trusted_pkg.inner::{name}"))


def test_untrusted_code_is_not_imported_and_the_message_says_how_to_trust_it() -> None:
    message = problem_of("trusted_pkg.inner::rows", trust=(), error=TrustError)
    assert '"trusted_pkg.inner::rows" would import code' in message
    assert 'SFTStream.from_yaml(..., trust=["trusted_pkg"])' in message
    assert 'trust=["trusted_pkg"]' in message
    assert "trusted_pkg" not in sys.modules


@pytest.mark.parametrize(
    ("name", "trust"),
    [
        ("trusted_pkgs::rows", ("trusted_pkg",)),
        ("trusted_pkg::rows", ("trusted_pkg.inner",)),
        ("trusted_pkg::rows", ("trusted_",)),
        ("trusted_pkg::rows", ("",)),
        ("os::system", ()),
        ("os::system", ("trusted_pkg",)),
        ("subprocess::run", ("trusted_pkg",)),
        ("builtins::eval", ("trusted_pkg",)),
    ],
)
def test_trust_compares_whole_segments(name: str, trust: tuple[str, ...]) -> None:
    problem_of(name, trust=trust, error=TrustError)


def test_trust_in_os_includes_os_system() -> None:
    assert find("os::system", trust=("os",)) is os.system


@pytest.mark.parametrize(
    ("name", "definer"),
    [("system", os.system.__module__), ("shell", os.system.__module__), ("helper", "other_pkg")],
)
def test_a_callable_that_a_trusted_module_only_imports_is_refused(name: str, definer: str) -> None:
    message = problem_of(f"trusted_pkg.inner::{name}", error=TrustError)
    assert f"is not defined in trusted_pkg.inner but in {definer}; trust {definer} as well" in message


def test_a_reexport_works_if_its_defining_package_is_trusted() -> None:
    assert find("trusted_pkg.inner::helper", trust=("trusted_pkg", "other_pkg"))() == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os", "is of type module; name a function or a class"),
        ("LIMIT", "is of type int"),
        ("_private", "starts with an underscore is private"),
        ("__builtins__", "starts with an underscore is private"),
        ("row", "trusted_pkg.inner has no row; known: rows, cached_rows, Rows, instance, short; did you mean"),
    ],
)
def test_a_name_that_is_not_a_public_callable_is_an_error(name: str, message: str) -> None:
    assert message in problem_of(f"trusted_pkg.inner::{name}")


@pytest.mark.parametrize(
    "name",
    [
        "::",
        "trusted_pkg::",
        "::rows",
        "trusted_pkg::a::b",
        "trusted_pkg::Rows.__call__",
        "trusted_pkg..inner::rows",
        ".trusted_pkg::rows",
        "trusted pkg::rows",
        "trusted_pkg::rows()",
        "trusted_pkg:::rows",
    ],
)
def test_the_message_for_a_malformed_name_gives_the_form(name: str) -> None:
    assert "has the form path.to.module::name" in problem_of(name)


def test_the_error_of_a_failed_import_is_kept_as_the_cause() -> None:
    with pytest.raises(ConfigError, match=r"trusted_pkg\.broken cannot be imported \(ZeroDivisionError") as caught:
        find("trusted_pkg.broken::rows")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "PYTHONPATH" in problem_of("trusted_pkg.nowhere::rows")


def test_trust_is_a_list() -> None:
    with pytest.raises(ConfigError, match=r'write trust=\["trusted_pkg"\]'):
        resolve("trusted_pkg::rows", table=TABLE, kind="source", trust="trusted_pkg")


# ---------------------------------------------------------------------------------------------- calls


def render(system_message: str, *, text_key: str = "text") -> tuple[str, str]:
    return system_message, text_key


def test_matching_kwargs_are_passed_to_the_function() -> None:
    assert call(render, {"system_message": "a", "text_key": "b"}, where="prompt_config.kwargs") == ("a", "b")


def test_the_message_for_an_unknown_argument_lists_the_known_arguments() -> None:
    with pytest.raises(ConfigError) as caught:
        call(render, {"system_message": "a", "text_kye": "b"}, where="prompt_config.kwargs")
    known = 'known: system_message, text_key; did you mean "text_key"?'
    assert str(caught.value) == f"prompt_config.kwargs.text_kye: render takes no such argument; {known}"


def test_one_message_lists_missing_and_unknown_arguments() -> None:
    with pytest.raises(ConfigError) as caught:
        call(render, {"sytem_message": "a"}, where="prompt_config.kwargs")
    unknown, missing = str(caught.value).splitlines()
    assert unknown.endswith('did you mean "system_message"?')
    assert missing == (
        "prompt_config.kwargs.system_message: render needs this argument; known: system_message, text_key"
    )


def test_an_error_inside_the_function_is_not_changed() -> None:
    def fails(a: int) -> None:
        raise TypeError("inside")

    with pytest.raises(TypeError, match=r"^inside$"):
        call(fails, {"a": 1}, where="prompt_config.kwargs")


def test_a_function_with_variadic_kwargs_takes_any_argument() -> None:
    assert call(lambda **kwargs: kwargs, {"a": 1}, where="x") == {"a": 1}
    assert call(dict, {"a": 1}, where="x") == {"a": 1}


def test_a_positional_only_parameter_counts_as_missing() -> None:
    with pytest.raises(ConfigError, match="row: "):
        call(lambda row, /, *rest: row, {"row": 1}, where="x")
