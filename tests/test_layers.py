"""The folders of the package are layers: a file imports only from its own folder and from folders above it."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import samsum_stream

ROOT = Path(samsum_stream.__file__).parent

LAYERS = (
    "errors",
    "values",
    "config",
    "sources",
    "prompts",
    "tokenization",
    "batching",
    "lanes",
    "pipeline",
    "showing",
    "loader",
    "training",
    "stream",
    "inspection",
    "cli",
)

Module = tuple[str, ...]
"""The path of a module below the package: `("lanes", "order")`; a folder itself is `("lanes", "__init__")`."""


def modules_in(root: Path) -> dict[Module, Path]:
    return {file.relative_to(root).with_suffix("").parts: file for file in root.rglob("*.py")}


def imports_of(file: Path, modules: dict[Module, Path]) -> set[Module]:
    """The modules of the package that a file imports, also inside functions and under TYPE_CHECKING."""
    imported = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import hides its layer; write the whole name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            root, *parts = name.split(".")
            if root == "samsum_stream":
                imported |= _candidates(tuple(parts)) & set(modules)
    return imported


def _candidates(parts: Module) -> set[Module]:
    """`from samsum_stream.lanes.order import Order` imports a name of a module, a module, or a name of a folder."""
    return {parts, parts[:-1], (*parts, "__init__"), (*parts[:-1], "__init__")}


def upward_imports(root: Path) -> list[str]:
    """One line for each import from a folder below the folder of the importing file."""
    modules = modules_in(root)
    return [
        f"{file.relative_to(root)} imports {'.'.join(other)}, and {other[0]}/ is below {module[0]}/"
        for module, file in sorted(modules.items())
        if module[0] in LAYERS
        for other in sorted(imports_of(file, modules))
        if other[0] not in LAYERS or LAYERS.index(other[0]) > LAYERS.index(module[0])
    ]


def import_cycle(root: Path) -> list[str]:
    """The modules of one import cycle; empty if there is none."""
    modules = modules_in(root)
    graph = {module: imports_of(file, modules) - {module} for module, file in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [".".join(module) for module in error.args[1]]
    return []


def test_the_folders_of_the_package_are_the_layers() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(LAYERS)


def test_no_module_imports_from_a_lower_layer() -> None:
    assert upward_imports(ROOT) == []


def test_no_import_cycle() -> None:
    assert import_cycle(ROOT) == []


def _package(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_an_upward_import_is_reported_also_inside_a_function(tmp_path: Path) -> None:
    text = "def f() -> None:\n    from samsum_stream.loader.wire import g\n"
    root = _package(tmp_path, lanes__order=text, loader__wire="from samsum_stream.lanes import order\ng = 1\n")
    assert upward_imports(root) == ["lanes/order.py imports loader.wire, and loader/ is below lanes/"]
    assert set(import_cycle(root)) == {"lanes.order", "loader.wire"}


def test_a_cycle_within_a_folder_is_reported(tmp_path: Path) -> None:
    root = _package(
        tmp_path,
        values__rows="import samsum_stream.values.examples\n",
        values__examples="from samsum_stream.values.rows import Rows\n",
    )
    assert upward_imports(root) == []
    assert set(import_cycle(root)) == {"values.rows", "values.examples"}
