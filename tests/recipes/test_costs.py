"""What recipes/COSTS.md says things cost is what the benchmark's own files say."""

import json
from pathlib import Path
from typing import Any

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"
COLUMNS = ("6x384-bf16", "6x384-float32", "12x768-bf16", "12x768-float32")
# Where each row of the table stands: the suite, and the line's name.
ROWS = {
    "`transformers.Trainer` over ours": ("training", "transformers.Trainer"),
    "the same, with `group_by_length`": ("training", "transformers.Trainer, group_by_length"),
    "`CrossEncoderTrainer` over ours, pairs": ("training", "CrossEncoderTrainer, pairs"),
    "`transformers.pipeline` over `predict`": ("prediction", "transformers.pipeline"),
    "`CrossEncoder.predict` over `predict`": ("prediction", "CrossEncoder.predict"),
    "our graph under ONNX Runtime over `predict`": ("prediction", "ours, by ONNX Runtime"),
    "a step over its matrix products": ("floor", "step"),
    "a step in float32 over one in bfloat16": ("floor", "step, float32"),
    "its products in float32 over those in bfloat16": ("floor", "products, float32"),
    "`MultitaskTrainer` over its steps": ("floor", "MultitaskTrainer, 4 steps"),
    "a step with `Smart` over a plain one": ("regularizers", "Smart"),
    "with `Bregman`": ("regularizers", "Bregman"),
    "with both": ("regularizers", "Smart and Bregman"),
    "with `Smart`, `every: 4`": ("regularizers", "Smart every 4, four steps"),
    "with smart-pytorch": ("regularizers", "smart-pytorch"),
    "`PCGrad` over summed losses": ("gradients", "PCGrad"),
    "torchjd's PCGrad over summed losses": ("gradients", "torchjd's PCGrad"),
}


def measured(column: str) -> dict[tuple[str, str], str]:
    """What the table should say of each line of each suite that was run for one of its columns."""
    told: dict[tuple[str, str], str] = {}
    for kind in ("", "-training", "-prediction"):
        path = RECIPES / "results" / "costs" / f"{column}{kind}.json"
        suites = json.loads(path.read_text())["suites"] if path.exists() else {}
        told |= {(suite, line["name"]): cell(line) for suite, lines in suites.items() for line in lines}
    return told


def cell(line: dict[str, Any]) -> str:
    """A line's ratio as the table has it."""
    ratio, most, least = (line[key] for key in ("ratio", "goal", "at_least"))
    missed = (most is not None and ratio > most) or (least is not None and ratio < least)
    return f"{ratio:.2f}".removeprefix("0") + " (missed)" * missed


def printed() -> dict[str, list[str]]:
    """The table's cells after the goal, by what its rows are called."""
    lines = (RECIPES / "COSTS.md").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if COLUMNS[0].replace("-", " ") in line)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 2 :][: len(ROWS)]]
    return {row[0]: row[2:] for row in cells}


def test_the_table_has_every_row() -> None:
    assert list(printed()) == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_the_table_says_what_was_measured_and_what_fell_short(row: str) -> None:
    for column, told in zip(COLUMNS, printed()[row], strict=True):
        assert told == measured(column).get(ROWS[row], ""), column
