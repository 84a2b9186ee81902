"""README.md, CONTRIBUTING.md and the pages of `docs/` are checked: every block of code, every command and every link.

python   the blocks of a page run from top to bottom in one namespace, with the names of `names_of_a_reader`
yaml     loads as a config; a fragment is a config as well, because every key may be omitted
bash     `samsum-stream` runs; files and modules that other commands name exist
(none)   a drawing

The blocks run in a small copy of `configs/` and `examples/`. The streams of the copy are finite, so that loops end.
"""

import functools
import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pydantic import BaseModel
from torch.distributed.device_mesh import init_device_mesh
from typer.testing import CliRunner

from samsum_stream import SFTStream, load_config
from samsum_stream.cli import app
from samsum_stream.config import MixtureKwargs, StreamConfig
from tests.models import make_model, one_thread
from tests.s3 import serve
from tests.streams import make_rows

TOP = Path(__file__).resolve().parents[1]
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").glob("*.md"))]
COMMANDS = (
    "samsum-stream",
    "python",
    "torchrun",
    "torchft_lighthouse",
    "pytest",
    "pip",
    "ruff",
    "mypy",
    "bash",
    "source",
    "export",
    "pre-commit",
)
LANGUAGES = {"python", "yaml", "bash", ""}

CONFIGS = {"sources.md": "configs/mixture.yaml", "conversations.md": "configs/conversations_openai.yaml"}
"""The config of a page's `stream`, if it is not that of the quickstart."""

ENDING = {"epochs": 1, "batch_size": 2, "packing_config": {"kwargs": {"max_length": 256}}}
"""Keys of the configs in the copy: loops end, and models with few positions train fast."""

NUM_ROWS = 48
"""Dialogues in the copy: enough for batch 17, which a page traces."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@functools.cache
def tokens_of(page: Path) -> list[Token]:
    return MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))


def blocks_of(page: Path, language: str) -> list[Token]:
    return [token for token in tokens_of(page) if token.type == "fence" and token.info == language]


def inline_of(page: Path, kind: str) -> list[Token]:
    return [child for token in tokens_of(page) for child in token.children or () if child.type == kind]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a reader: the top of the repository."""
    for subfolder in ("configs", "examples"):
        shutil.copytree(TOP / subfolder, tmp_path / subfolder)
    for config in (tmp_path / "configs").iterdir():
        written = yaml.safe_load(config.read_text(encoding="utf-8"))
        config.write_text(yaml.safe_dump({**written, **ENDING}), encoding="utf-8")
    dialogues = tmp_path / "examples" / "data" / "dialogues.jsonl"
    rows = dialogues.read_text(encoding="utf-8").splitlines(keepends=True)
    dialogues.write_text("".join(rows[:NUM_ROWS]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def job() -> Iterator[None]:
    """A job of one process, for pages that use its mesh."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    with one_thread():
        yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def store(page: Path) -> Iterator[None]:
    """An S3 server with the bucket `bucket`, for pages that use it."""
    if not any("s3://bucket" in block.content for block in blocks_of(page, "python")):
        yield
        return
    with serve(bucket="bucket") as server, server.as_default():
        yield


def tiny_model(tokenizer: Any) -> Any:
    return make_model("llama", vocab_size=len(tokenizer), num_hidden_layers=1, max_position_embeddings=512)


def names_of_a_reader(page: Path) -> dict[str, Any]:
    """The names that blocks use without a definition."""
    stream = SFTStream.from_yaml(CONFIGS.get(page.name, "configs/quickstart.yaml"))
    held_out = load_config("configs/quickstart.yaml").model_copy(update={"shuffle": False})
    model = tiny_model(stream.tokenizer)
    return {
        "dataset": make_rows(40),
        "device": torch.device("cpu"),
        "eval_stream": SFTStream(held_out),
        "mesh": init_device_mesh("cpu", (1,), mesh_dim_names=("dp",)),
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters()),
        "stream": stream,
        "tokenizer": stream.tokenizer,
    }


@each_page
def test_every_block_is_in_a_language_that_is_checked_here(page: Path) -> None:
    assert {token.info for token in tokens_of(page) if token.type == "fence"} <= LANGUAGES
    assert not [token.content for token in tokens_of(page) if token.type == "code_block"]


@pytest.mark.usefixtures("job", "store")
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")  # TRL causes it
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page, "python")], ids=lambda page: page.name)
def test_the_blocks_of_python_run_from_top_to_bottom(page: Path) -> None:
    names = names_of_a_reader(page)
    for block in blocks_of(page, "python"):
        # The empty lines before the block let a traceback name the line of the page.
        exec(compile("\n" * (block.map[0] + 1) + block.content, page, "exec"), names)


@each_page
def test_every_block_of_yaml_is_a_config(page: Path, folder: Path) -> None:
    for block in blocks_of(page, "yaml"):
        path = folder / f"{page.stem}.yaml"
        path.write_text("\n" * (block.map[0] + 1) + block.content, encoding="utf-8")
        load_config(path)


def commands_in(texts: Iterable[str]) -> list[list[str]]:
    commands = [command for text in texts for command in re.split(r"&&|\n", text)]
    return [
        shlex.split(command.partition(" > ")[0], comments=True)  # the redirection is not checked
        for command in commands
        if re.match(rf"\s*({'|'.join(COMMANDS)}) ", command + " ")
    ]


def in_blocks(page: Path) -> list[list[str]]:
    return commands_in(block.content for block in blocks_of(page, "bash"))


def in_text(page: Path) -> list[list[str]]:
    return commands_in(token.content for token in inline_of(page, "code_inline"))


@each_page
def test_every_line_of_bash_is_a_command_that_is_checked_here(page: Path) -> None:
    lines = [line for block in blocks_of(page, "bash") for line in block.content.splitlines()]
    assert all(commands_in([line]) for line in lines)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page, "bash")], ids=lambda page: page.name)
def test_the_blocks_of_bash_run_samsum_stream(page: Path, folder: Path) -> None:
    """With `path/or/id` as the folder of a model."""
    runs = [arguments for name, *arguments in in_blocks(page) if name == "samsum-stream"]
    if any("path/or/id" in arguments for arguments in runs):
        tiny_model(SFTStream.from_yaml("configs/quickstart.yaml").tokenizer).save_pretrained(folder / "path/or/id")
    for arguments in runs:
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output


@each_page
def test_commands_name_files_modules_and_options_that_exist(page: Path) -> None:
    for name, *arguments in in_blocks(page) + in_text(page):
        if name == "samsum-stream" and arguments:
            help = CliRunner().invoke(app, [arguments[0], "--help"], env={"COLUMNS": "200"})
            assert help.exit_code == 0, help.output
            assert all(argument in help.output for argument in arguments if argument.startswith("--"))
        elif name == "python" and arguments[:1] == ["-m"]:
            assert importlib.util.find_spec(arguments[1]) is not None
        else:
            files = [argument for argument in arguments if argument.endswith(".py") or name == "bash"]
            assert all((TOP / file).is_file() for file in files)


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    tokens = tokens_of(page)
    headings = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@each_page
def test_every_link_leads_to_a_file_and_a_heading_of_the_repository(page: Path) -> None:
    links = [str(link.attrs["href"]) for link in inline_of(page, "link_open")]
    images = [str(image.attrs["src"]) for image in inline_of(page, "image")]
    for link in links + images:
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors_of(target), link


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_the_readme_links_every_page(page: Path) -> None:
    assert str(page.relative_to(TOP)) in {link.attrs["href"] for link in inline_of(TOP / "README.md", "link_open")}


def keys_of(section: type[BaseModel]) -> Iterator[str]:
    """The keys of a section and of the sections in it."""
    for name, field in section.model_fields.items():
        yield name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from keys_of(kind)


@pytest.mark.parametrize("section", [StreamConfig, MixtureKwargs])
def test_every_key_of_the_yaml_is_described(section: type[BaseModel]) -> None:
    described = {token.content for token in inline_of(TOP / "docs" / "configuration.md", "code_inline")}
    assert set(keys_of(section)) <= described


def test_every_file_with_slow_proofs_is_listed() -> None:
    marked = {
        str(file.relative_to(TOP))
        for file in (TOP / "tests").rglob("test_*.py")
        if re.search(r"\bmark\.slow\b", file.read_text(encoding="utf-8")) and file.name != Path(__file__).name
    }
    assert marked <= {token.content for token in inline_of(TOP / "CONTRIBUTING.md", "code_inline")}


def test_every_benchmark_is_listed() -> None:
    modules = {f"python -m tests.benchmarks.{file.stem}" for file in (TOP / "tests" / "benchmarks").glob("*.py")}
    listed = {token.content for token in inline_of(TOP / "CONTRIBUTING.md", "code_inline")}
    assert modules - listed == {"python -m tests.benchmarks.corpora"}  # the data of the others


def test_the_workflow_runs_the_checks_of_a_change() -> None:
    workflow = yaml.safe_load((TOP / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    runs = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert runs == ["bash .ci/run"]
    assert (TOP / ".ci" / "run").is_file()
