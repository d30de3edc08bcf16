"""The answers that a model was surest of, and that are wrong."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset

from ..evaluation.answers import Answers
from ..models.objectives import build_objective

__all__ = ["Mistake", "mistakes", "probabilities"]


class Mistake(NamedTuple):
    """A row that was answered wrong; `sure` is the answer's probability, or how far a number is off."""

    row: int
    text: str
    said: str
    label: str
    sure: float


def probabilities(task: Mapping[str, Any], said: Answers) -> np.ndarray:
    """What the scores say: probabilities [n, classes], or numbers [n, 1].

    >>> task = {"objective": {"class": "Binary"}}
    >>> probabilities(task, Answers(np.zeros((1, 1)), np.array([0]), np.array([1]))).tolist()
    [[0.5, 0.5]]
    """
    return build_objective(dict(task["objective"])).answers(torch.from_numpy(said.scores)).numpy()


def mistakes(task: Mapping[str, Any], said: Answers, rows: Dataset, *, most: int = 10) -> list[Mistake]:
    """The worst mistakes on the rows of a task, the worst first, with their texts."""
    objective = build_objective(dict(task["objective"]))
    names = objective.labels
    if names is None:
        off = np.abs(said.values - said.labels)
        worst = np.argsort(-off, kind="stable")[:most]
    else:
        off = probabilities(task, said).max(1)
        worst = np.argsort(-np.where(said.values != said.labels, off, -1.0), kind="stable")[:most]
        worst = worst[said.values[worst] != said.labels[worst]]
    found = []
    for row in worst.tolist():
        one = rows[row]
        text = f"{one['first']} / {one['second']}" if task["pair"] else one["first"]
        value, label = said.values[row], said.labels[row]
        spelled = (f"{value:.2f}", f"{label:.2f}") if names is None else (names[int(value)], names[int(label)])
        found.append(Mistake(row, text, *spelled, float(off[row])))
    return found
