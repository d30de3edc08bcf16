"""What a model says to the rows of a split, and the files of it that the course takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ..evaluation.submission import answers_file, write_submission
from ..evaluator import InBatches, evaluate, predicted
from ..report import Report
from ..training.backends import processes

__all__ = ["answered", "write_answers"]


def answered(
    model: Any, rows: Mapping[str, Dataset], *, split: str, batch_size: int, seed: int = 0, trunk: str | None = None
) -> tuple[dict[str, np.ndarray], Report | None]:
    """The answers [n] to each task's rows, and the report on those that have labels; each process has its share."""
    several = processes().num_processes > 1
    judged = {name: data for name, data in rows.items() if "label" in data.column_names}
    answering, report = InBatches(model, batch_size), None
    values: dict[str, np.ndarray] = {}
    if judged:
        options: Any = {"split": split, "seed": seed, "trunk": trunk, "distributed": several}
        report = evaluate(answering, judged, values=values, **options)
    # In an order that is the same in every process.
    for name in (name for name in rows if name not in judged):
        _, values[name], _ = predicted(answering, name, rows[name], distributed=several)
    return values, report


def write_answers(
    folder: Path, split: str, rows: Mapping[str, Dataset], values: Mapping[str, np.ndarray]
) -> list[Path]:
    """Write a file of answers for each task, in the course's format, in place of those that are there of the split."""
    places = [answers_file(name, split) for name in rows]
    if twice := {place for place in places if places.count(place) > 1}:
        raise ValueError(f"Two tasks would be written to {twice.pop()}: the course calls qqp para.")
    for before in folder.glob(f"*-{split}-output.csv"):
        before.unlink()
    return [write_submission(folder, name, split, rows[name]["id"], values[name]) for name in rows]
