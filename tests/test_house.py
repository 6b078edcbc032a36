"""The house: imports go one way, the public surface is what it says, starting up is light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import firstlight

SOURCE = Path(firstlight.__file__).parent
ORDER = [
    "errors",
    "reports",
    "fields",
    "initializers",
    "graphs",
    "plans",
    "transfers",
    "moments",
    "calibrations",
    "schemes",
    "writers",
    "probes",
    "checks",
    "studies",
    "cli",
]
# Extras, and the two files that bring in llvmlite at the first draw: importing these late keeps them optional.
LATE = {"pyarrow", "PIL", "pandas", "tensorboard", "compiler", "codegen"}


def _files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def _room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imported_rooms(path: Path) -> set[str]:
    """The rooms that a file's relative imports reach."""
    package = path.relative_to(SOURCE).parent.parts
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            full = (*base, *(node.module or "").split("."))
            rooms |= {full[0]} if full[0] else {alias.name for alias in node.names}
    return rooms


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_up_the_list(path: Path) -> None:
    room = _room(path)
    if room == "__init__":
        return
    assert room in ORDER, f"{room} is no room of the house"
    # The root holds the table of contents, and the version, which any room may print.
    below = {r for r in _imported_rooms(path) - {"__version__"} if r not in ORDER or ORDER.index(r) > ORDER.index(room)}
    assert not below, f"{path.name} of {room} imports {below}, which stand below it"


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_import_inside_a_function_but_of_what_is_optional(path: Path) -> None:
    late = set()
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    late |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    late |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    assert late <= LATE


def test_public_names_are_there_and_documented() -> None:
    for name in firstlight.__all__:
        value = getattr(firstlight, name)
        assert value.__doc__, f"{name} has no docstring"
    assert len(set(firstlight.__all__)) == len(firstlight.__all__)


def test_the_docs_speak_of_names_that_exist() -> None:
    root = SOURCE.parent.parent
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    named = {name for page in pages for name in re.findall(r"\bfl\.([A-Za-z_]+)", page.read_text())}
    assert named <= set(firstlight.__all__)
    assert len(named) > 10


def test_the_table_of_contents_is_what_type_checkers_see() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    seen = {(n.module, a.name) for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert seen == {(room, name) for room, names in firstlight._CONTENTS.items() for name in names}


def test_weights_load_nothing_that_only_studies_need() -> None:
    heavy = ["scipy", "sklearn", "plotly", "jinja2", "loky", "llvmlite", "typer", "rich"]
    show = f"import sys; print([m for m in {heavy} if m in sys.modules])"
    outputs = [
        subprocess.run([sys.executable, "-c", c + show], capture_output=True, text=True, check=True).stdout
        for c in ("import torch;", "from firstlight import init_, HeNormal, catalogue;")
    ]
    assert outputs[0] == outputs[1]


def test_help_starts_without_torch() -> None:
    code = (
        "import sys; from firstlight.cli.app import main\n"
        "sys.argv = ['firstlight', '--help']\n"
        "try: main()\nexcept SystemExit as e: assert not e.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
