"""Imports go downward only: what may import what, read from the code."""

import ast
from pathlib import Path

import pytest

import hf_multitask

PACKAGE = Path(hf_multitask.__file__).parent
FLOORS = [
    {"models", "metrics", "plots", "arguments"},
    {"tasks", "schedules", "aggregators", "regularizers", "tuners", "report", "given"},
    {"data", "training", "evaluation", "schema"},
    {"evaluator", "tuning", "help"},
    {"trainer", "pretraining", "ensembles", "recipe"},
    {"sections", "publishing"},
    {"assembly", "hub", "benchmarks"},
    {"pages"},
    {"studies"},
]
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def floor_of(room):
    (found,) = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    return found


def imports(path):
    """(level, module) of each import from the package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node.level, node.module or ""
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(name and name.startswith("hf_multitask") for name in names), f"{path}: import by dots"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downward(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    for level, module in imports(path):
        if level < len(parts):
            continue
        other, mine = module.split(".")[0], parts[0]
        assert floor_of(other) < floor_of(mine), f"{mine} may not import {other}"


def test_what_ships_to_the_hub_imports_its_siblings_only():
    for path in (PACKAGE / "models").glob("*.py"):
        assert all(level == 1 for level, _ in imports(path)), path


def test_only_the_recipe_knows_yaml():
    knowing = {path.name for path in FILES if "yaml" in {n.split(".")[0] for n in named(path)}}
    assert knowing <= {"recipe.py"}


def named(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module
