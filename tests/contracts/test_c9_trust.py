"""C9: a config is data; code runs only if the caller trusts it, and validation imports nothing."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoTokenizer

from samsum_stream import ConfigError, SamsumStreamError, SFTStream, TrustError, load_config, parse_config
from tests.streams import make_config, make_rows, make_stream, rows_of_packs, word_tokenizer, write_lines

TRAP = """\
from pathlib import Path

(Path(__file__).parent / ("ran-" + __name__)).touch()


def rows():
    return [{"input": "20", "response": "21"}]


def prompt(**kwargs):
    from samsum_stream import Prompt

    return Prompt(**kwargs)


def style():
    from samsum_stream import PromptFormat

    return PromptFormat()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Modules that create a file when they are imported."""
    for name in ("trap.py", "traps.py", "pack/__init__.py", "pack/inner.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(TRAP)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("trap", "traps", "pack")]:
        del sys.modules[name]


def ran(folder: Path) -> set[str]:
    return {path.name.removeprefix("ran-") for path in folder.rglob("ran-*")}


def naming(section: str, name: str) -> dict[str, Any]:
    """A config with the name of a function in `section`."""
    return make_config(**{section: {"method": name}})


SECTIONS = pytest.mark.parametrize(
    ("section", "function"), [("source_config", "rows"), ("prompt_config", "prompt"), ("prompt_format_config", "style")]
)


def build(config: dict[str, Any], *, trust: list[str]) -> SFTStream:
    rows = None if config.get("source_config") else make_rows(3)
    return SFTStream.from_config(config, rows=rows, tokenizer=word_tokenizer(), trust=trust)


@SECTIONS
def test_validating_a_config_imports_nothing(section: str, function: str, folder: Path) -> None:
    config = naming(section, f"trap::{function}")
    parse_config(config)
    (folder / "stream.yaml").write_text(yaml.safe_dump(config))
    load_config(folder / "stream.yaml")
    assert ran(folder) == set()
    assert "trap" not in sys.modules


@SECTIONS
def test_untrusted_code_does_not_run_and_the_error_says_how_to_trust_it(
    section: str, function: str, folder: Path
) -> None:
    with pytest.raises(TrustError) as caught:
        build(naming(section, f"trap::{function}"), trust=[])
    message = str(caught.value)
    assert message.startswith(f'config: {section}.method: "trap::{function}" would import code')
    assert 'SFTStream.from_yaml(..., trust=["trap"])' in message
    assert ran(folder) == set()


@SECTIONS
def test_trusted_code_runs(section: str, function: str, folder: Path) -> None:
    stream = build(naming(section, f"trap::{function}"), trust=["trap"])
    assert ran(folder) == {"trap"}
    assert rows_of_packs(stream)


def test_trust_covers_submodules_but_not_other_names_with_the_same_start(folder: Path) -> None:
    for name, trust in (("traps::rows", "trap"), ("pack::rows", "pack.inner"), ("trap::rows", "tra")):
        with pytest.raises(TrustError):
            build(naming("source_config", name), trust=[trust])
    assert ran(folder) == set()
    build(naming("source_config", "pack.inner::rows"), trust=["pack"])
    assert "pack.inner" in ran(folder)


def test_the_yaml_cannot_trust_itself(folder: Path) -> None:
    for extra in ({"trust": ["trap"]}, {"trust_remote_code": True}):
        with pytest.raises(ConfigError, match="unknown key"):
            parse_config({**naming("source_config", "trap::rows"), **extra})
    config = make_config(source_config={"method": "load_dataset", "kwargs": {"path": "x", "trust_remote_code": True}})
    with pytest.raises(TrustError, match="a config cannot set `trust_remote_code`"):
        build(config, trust=[])
    assert ran(folder) == set()


@pytest.mark.parametrize(
    "nested",
    [
        {"prompt_config": {"method": "Prompt", "kwargs": {"format": "trap::style"}}},
        {"prompt_config": {"method": "Prompt", "kwargs": {"format": {"method": "trap::style"}}}},
        {"prompt_format_config": {"method": "PromptFormat", "kwargs": {"input": {"method": "trap::style"}}}},
        {"prompt_config": {"method": "Prompt", "kwargs": {"examples": ["trap::rows"]}}},
    ],
)
def test_nested_names_of_code_run_nothing(nested: dict[str, Any], folder: Path) -> None:
    with pytest.raises((ConfigError, TypeError, ValueError)):
        make_stream(make_rows(3), **nested)
    assert ran(folder) == set()


@pytest.mark.parametrize("tag", ["!!python/name:trap.rows", "!!python/object/apply:trap.rows []", "!trap x"])
def test_a_yaml_tag_runs_nothing(tag: str, folder: Path) -> None:
    (folder / "stream.yaml").write_text(f"source_config: {{method: jsonl, kwargs: {{path: {tag}}}}}\n")
    with pytest.raises(ConfigError, match=r"stream\.yaml:1"):
        load_config(folder / "stream.yaml")
    assert ran(folder) == set()


def test_a_row_that_names_code_is_text(folder: Path) -> None:
    texts = ["trap::rows", "!!python/name:trap.rows", "{text}", "{trap}", "%s", "${trap}"]
    rows = [{"input": text, "response": text} for text in texts]
    stream = make_stream(rows, prompt_config={"method": "Prompt", "kwargs": {"input_template": "11 {text}"}})
    assert sorted(rows_of_packs(stream)) == list(range(len(texts)))
    for row, text in zip(rows, texts, strict=True):
        assert stream.inference_prompt(row).strip() == f"11 {text}"
    assert ran(folder) == set()


@pytest.mark.parametrize("name", ["os::system", "builtins::eval", "subprocess::run", "pathlib::Path"])
def test_the_standard_library_needs_trust_too(name: str) -> None:
    with pytest.raises(TrustError, match=r"source_config\.method: .* would import code"):
        build(make_config(source_config={"method": name, "kwargs": {"command": "true"}}), trust=[])


@pytest.mark.parametrize("make_path", [str, lambda path: f"file://{path}"], ids=["path", "url"])
def test_a_shell_command_instead_of_a_path_is_an_error(make_path: Callable[[Path], str], folder: Path) -> None:
    write_lines(folder / "rows.jsonl", make_rows(2))
    for path in (f"pipe:touch {folder}/ran-pipe", f"pipe://touch {folder}/ran-pipe", f"ssh://host{folder}/rows.jsonl"):
        for method, key in (("jsonl", "path"), ("load_from_disk", "dataset_path")):
            with pytest.raises(SamsumStreamError):
                build(make_config(source_config={"method": method, "kwargs": {key: path}}), trust=[])
    assert ran(folder) == set()


@pytest.mark.parametrize(
    ("method", "kwargs"),
    [
        ("trap::rows", {}),
        ("jsonl", {"path": "pipe:touch {folder}/ran-pipe"}),
        ("parquet", {"path": "ssh://host{folder}/rows.parquet"}),
        ("webdataset", {"urls": "pipe:touch {folder}/ran-pipe"}),
        ("webdataset", {"urls": ["{folder}/rows-{{0..1}}.tar", "ssh://host{folder}/rows.tar"]}),
        ("load_dataset", {"path": "{folder}/trap.py", "split": "train"}),
        ("load_dataset", {"path": "{folder}/pack", "split": "train", "trust_remote_code": True}),
    ],
)
def test_a_child_of_an_inner_mixture_has_the_same_limits_as_any_source(
    method: str, kwargs: dict[str, Any], folder: Path
) -> None:
    """`pack` contains a dataset script, as in old repositories of the Hub."""
    (folder / "pack" / "pack.py").write_text(TRAP)

    def formatted(value: Any) -> Any:
        if isinstance(value, list):
            return [formatted(item) for item in value]
        return value.format(folder=folder) if isinstance(value, str) else value

    child = {"method": method, "kwargs": {key: formatted(value) for key, value in kwargs.items()}}
    inner = {"method": "mixture", "kwargs": {"sources": {"child": child}}}
    outer = {"method": "mixture", "kwargs": {"sources": {"inner": inner}}}
    with pytest.raises(SamsumStreamError):
        build(make_config(source_config=outer, epochs=None), trust=["somebody_else"])
    assert ran(folder) == set()


# ------------------------------------------------------------------------------------------- code of a tokenizer

TOKENIZER_CODE = """\
from pathlib import Path

from transformers import PreTrainedTokenizerFast

(Path(__file__).parent / "ran-tokenizer").touch()
Path({trace!r}).touch()


class Mine(PreTrainedTokenizerFast):
    pass
"""


def save_tokenizer_with_code(folder: Path, *, trace: Path) -> Path:
    """A folder with a tokenizer that is a class of its own; its code creates `trace`."""
    saved = folder / "with_code"
    word_tokenizer().save_pretrained(saved)
    (saved / "mine.py").write_text(TOKENIZER_CODE.format(trace=str(trace)))
    settings = json.loads((saved / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": [None, "mine.Mine"]}}
    (saved / "tokenizer_config.json").write_text(json.dumps(settings))
    (saved / "config.json").write_text('{"model_type": "unknown"}')
    return saved


def test_code_of_a_tokenizer_does_not_run_and_nobody_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = folder / "trace"
    saved = save_tokenizer_with_code(folder, trace=trace)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    with pytest.raises(TrustError, match=r"^base_model: .*with_code' is Python code .*; give a folder .*tokenizer=tok"):
        SFTStream.from_config(make_config(base_model=str(saved)), rows=make_rows(9))
    assert sys.stdin.read() == "y\n" * 9
    assert not trace.exists()
    assert "custom code" not in "".join(capsys.readouterr())


def test_the_remedies_for_a_tokenizer_with_code_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder / "modules"))
    trace = folder / "trace"
    saved = save_tokenizer_with_code(folder, trace=trace)
    tokenizer = AutoTokenizer.from_pretrained(saved, trust_remote_code=True)
    assert trace.exists()
    stream = SFTStream.from_config(make_config(), rows=make_rows(9), tokenizer=tokenizer)
    settings = json.loads((saved / "tokenizer_config.json").read_text())
    settings = {**settings, "tokenizer_class": "PreTrainedTokenizerFast"}
    del settings["auto_map"]
    (saved / "tokenizer_config.json").write_text(json.dumps(settings))
    other = SFTStream.from_config(make_config(base_model=str(saved)), rows=make_rows(9))
    assert rows_of_packs(stream) == rows_of_packs(other)
