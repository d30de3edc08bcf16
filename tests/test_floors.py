"""Imports go downward only: what may import what, read from the code."""

import ast
from pathlib import Path

import pytest

import hf_multitask

PACKAGE = Path(hf_multitask.__file__).parent
FLOORS = [
    {"models", "metrics", "schedules", "aggregators", "checkpoints", "backends", "report", "given"},
    {"tasks", "regularizers", "tuners", "schema", "submission", "curves", "callbacks"}
    | {"studies", "jobs", "answers", "optimizers", "interruptions", "origins"},
    {"data", "gradients", "penalties", "evaluator", "onnx_export", "plots", "probe", "baseline", "calibration"}
    | {"comparison", "pages", "mistakes"},
    {"ballots", "selection", "soups", "distillation", "arguments", "trainer", "pretraining", "tuning"}
    | {"standing", "run_pages"},
    {"recipe", "help", "sections", "pretrain_sections", "ensemble_sections", "tune_sections", "publish_sections"}
    | {"report_sections", "run_sections", "study_sections", "benchmark_sections", "shipping"},
    {"assembly", "benchmarks", "ensembles", "ensemble_report", "hub", "manifest", "cards"}
    | {"study_tables", "trainers", "rehearsal", "showing", "study_pages"},
]
# Within a floor: the report shows metrics, schedules and what is read are built from descriptions.
BESIDE = {("report", "metrics"), ("schedules", "models"), ("given", "models"), ("metrics", "models")}
BESIDE |= {("aggregators", "models"), ("trainer", "arguments"), ("recipe", "help")}
BESIDE |= {("selection", "ballots"), ("pretraining", "arguments"), ("pretrain_sections", "sections")}
BESIDE |= {("ensemble_sections", "sections"), ("ensemble_report", "ensembles"), ("tune_sections", "sections")}
BESIDE |= {("hub", "manifest"), ("manifest", "cards")}
BESIDE |= {("study_sections", "recipe"), ("study_sections", "sections"), ("study_sections", "pretrain_sections")}
BESIDE |= {("study_sections", f"{kind}_sections") for kind in ("ensemble", "run", "tune")} | {("studies", "jobs")}
BESIDE |= {("trainers", "assembly"), ("rehearsal", "trainers"), ("showing", "assembly")}
BESIDE |= {("study_tables", "study_pages"), ("plots", "metrics")}
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
        assert floor_of(other) < floor_of(mine) or (mine, other) in BESIDE, f"{mine} may not import {other}"


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
