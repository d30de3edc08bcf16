"""What is judged while a first stage runs: similarity of pairs, the shape of the space, a probe of classes."""

from typing import Any

import numpy as np
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from sklearn.preprocessing import normalize

from ..evaluation.probe import Probe
from ..evaluator import evaluate
from ..tasks import Task

__all__ = ["Geometry", "ProbeEvaluator", "alignment", "encoding", "evaluators", "similarity", "uniformity"]

CLOSE = 0.8
"""Pairs above this share of the range count as positives: 4 of 5, as in the SimCSE paper."""


def evaluators(task: Task, train: Dataset, dev: Dataset, *, batch_size: int = 64) -> list[BaseEvaluator]:
    """What is said of a task: two correlations and the geometry of its pairs, or the probe of its classes."""
    if task.pair:
        return [similarity(task, dev, batch_size=batch_size), Geometry(task, dev, batch_size=batch_size)]
    return [ProbeEvaluator(task, train, dev, batch_size=batch_size)]


def similarity(task: Task, rows: Dataset, *, batch_size: int = 64) -> EmbeddingSimilarityEvaluator:
    """The library's own correlations of plain cosine and label: `{task}_spearman_cosine`, `{task}_pearson_cosine`."""
    return EmbeddingSimilarityEvaluator(
        rows["first"][:],
        rows["second"][:],
        rows["label"][:],
        batch_size=batch_size,
        main_similarity="cosine",
        name=task.name,
        write_csv=False,
    )


class Geometry(BaseEvaluator):
    """Alignment and uniformity of normalised embeddings (Wang & Isola, 2020); less is better of both.

    Alignment is over the pairs whose label is in the upper fifth of the range, and left out where there is none;
    uniformity over all different texts.
    """

    def __init__(self, task: Task, rows: Dataset, *, batch_size: int = 64):
        super().__init__()
        self.name, self.batch_size = task.name, batch_size
        self.greater_is_better = False
        self.primary_metric = f"{task.name}_uniformity"
        objective: Any = task.objective
        pairs = list(zip(rows["first"][:], rows["second"][:], rows["label"][:], strict=True))
        self.texts = list(dict.fromkeys(text for *texts, _ in pairs for text in texts))
        place = {text: i for i, text in enumerate(self.texts)}
        least = objective.low + CLOSE * (objective.high - objective.low)
        self.close = [(place[first], place[second]) for first, second, label in pairs if label > least]

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        rows = normalize(model.encode(self.texts, batch_size=self.batch_size, show_progress_bar=False))
        metrics = {f"{self.name}_uniformity": uniformity(rows)}
        if self.close:
            first, second = np.array(self.close).T
            metrics[f"{self.name}_alignment"] = alignment(rows[first], rows[second])
        return metrics


def alignment(first: np.ndarray, second: np.ndarray) -> float:
    """The mean squared distance of normalised rows [n, width] and their positives [n, width]."""
    return float(np.square(first - second).sum(-1).mean())


def uniformity(rows: np.ndarray, *, block: int = 1024) -> float:
    """log E exp(-2 |x - y|^2) over all pairs of two different rows, of normalised rows [n, width].

    >>> uniformity(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    -8.0
    """
    rows = rows.astype(np.float64)
    total, n = 0.0, len(rows)
    for start in range(0, n, block):
        # |x - y|^2 = 2 - 2 x.y on the sphere.
        nearness = np.exp(4 * (rows[start : start + block] @ rows.T) - 4)
        # A row is no other row.
        np.fill_diagonal(nearness[:, start:], 0)
        total += nearness.sum()
    return float(np.log(total / (n * (n - 1))))


class ProbeEvaluator(BaseEvaluator):
    """How well a linear probe tells the classes of a task: `{task}_accuracy`, or whatever metric the task has."""

    def __init__(self, task: Task, train: Dataset, dev: Dataset, *, batch_size: int = 64):
        super().__init__()
        self.task, self.train, self.dev, self.batch_size = task, train, dev, batch_size
        self.metric = self.primary_metric = f"{task.name}_{task.metric}"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        probe = Probe([self.task], encode=encoding(model, self.batch_size)).fit(self.task.name, self.train)
        found = evaluate(probe, {self.task.name: self.dev}, resamples=0).values
        return {self.metric: found[self.task.name]}


def encoding(model: SentenceTransformer, batch_size: int) -> Any:
    """How `model` turns texts into rows [n, width]."""
    return lambda texts: model.encode(list(texts), batch_size=batch_size, show_progress_bar=False)
