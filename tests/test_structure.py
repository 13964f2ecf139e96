"""The shape of the source: few rooms at the top, short files, short functions, and a map that says what is enforced."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src/vtadl"
MOST_ROOMS, LONGEST_FILE, LONGEST_FUNCTION = 30, 350, 50
LONG_FUNCTIONS = {"server/migrations/versions/0001_first_tables.py:upgrade"}
"""A migration makes one table after the other, and is never changed."""
OF_A_ROOM = {
    *(f"commands/test_{name}.py" for name in ("cli", "field_cases", "first_try", "startup")),
    *("config/test_config.py", "data/layouts/test_trees.py", "data/test_formats_page.py"),
    *("models/test_paper_arms.py", "runtime/test_runtime.py"),
}
"""Tests of more than one file of their room; those of the server all are."""


def test_the_top_has_few_rooms():
    rooms = [path for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert len(rooms) <= MOST_ROOMS


def test_files_are_short():
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert {name for name, lines in lengths.items() if lines > LONGEST_FILE} == set()


def test_functions_are_short():
    long = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= LONGEST_FUNCTION:
                long.add(f"{path.relative_to(SOURCE)}:{node.name}")
    assert long <= LONG_FUNCTIONS


def layers() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = next(c for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [layer.removeprefix("vtadl.") for layer in contract["layers"]]


def test_the_contract_names_every_room():
    rooms = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(layers()) == rooms - {"__init__"}


def test_the_written_map_is_the_enforced_one():
    rows = re.findall(r"^\| `(\w+)(?:\.py|/)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert rows == layers()[::-1]


@pytest.mark.parametrize("folder", [path for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"])
def test_every_folder_of_the_source_has_its_tests(folder):
    assert list((ROOT / "tests" / folder.name).glob("test_*.py"))


def test_tests_mirror_the_source():
    tests = {str(path.relative_to(ROOT / "tests")) for path in (ROOT / "tests").glob("*/**/test_*.py")}
    own = {name for name in tests - OF_A_ROOM if not name.startswith(("server/", "benchmarks/"))}
    assert {name for name in own if not (SOURCE / name.replace("test_", "")).exists()} == set()
    assert tests >= OF_A_ROOM
