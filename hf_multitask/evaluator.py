"""Judge anything that predicts, one process or many: `evaluate`."""

import math
import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from datasets import Dataset
from sklearn.metrics import confusion_matrix

from .data.canonical import misfit, text_columns
from .evaluation.answers import Answers
from .metrics import METRICS, bootstrap
from .models.construct import unknown
from .models.objectives import Objective, Prediction, build_objective
from .report import Report
from .training.backends import processes
from .training.curves import NotFinite

__all__ = ["InBatches", "Predictor", "checked_labels", "evaluate", "predicted"]


class Predictor(Protocol):
    """What can be judged: a model, an ensemble, or anything that answers like one.

    `tasks` maps a task's name to its description, as `Task.describe` gives it.
    """

    @property
    def tasks(self) -> dict[str, dict[str, Any]]: ...

    def predict(self, task: str, first: list[str], second: list[str] | None = None, /) -> Prediction: ...


@dataclass(frozen=True)
class InBatches:
    """A model that predicts with a batch size of its own."""

    model: Any
    batch_size: int

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        return self.model.tasks

    def predict(self, task: str, first: list[str], second: list[str] | None = None) -> Prediction:
        return self.model.predict(task, first, second, batch_size=self.batch_size)


def evaluate(
    predictor: Predictor,
    datasets: dict[str, Dataset],
    *,
    split: str = "dev",
    resamples: int = 1000,
    seed: int = 0,
    distributed: bool = False,
    values: dict[str, np.ndarray] | None = None,
    answers: dict[str, Answers] | None = None,
    trunk: str | None = None,
    beside: dict[str, dict[str, float]] | None = None,
    **about: Any,
) -> Report:
    """Judge a predictor on one labelled dataset a task, with columns first, second (pairs) and label.

    `resamples` are those of the bootstrap intervals; zero leaves these out. With `distributed` every process
    predicts its share of the rows, each row counts once, and every process gets the same report. Seconds and
    speed are those of the prediction alone. `values` is filled with the answers to each task, and `answers` with
    scores and labels beside them. `trunk`, `beside` and whatever else is given go into the report as they are.
    """
    labels = checked_labels(predictor.tasks, datasets)
    entries, seconds, kept = {}, 0.0, {} if values is None else values
    for name, dataset in datasets.items():
        scores, kept[name], spent = predicted(predictor, name, dataset, distributed=distributed)
        if answers is not None:
            answers[name] = Answers(scores, kept[name], labels[name])
        results = judged(predictor.tasks[name], scores, kept[name], labels[name], resamples=resamples, seed=seed)
        entries[name] = {"split": split, "n": len(dataset), **results}
        seconds += spent
    speed = sum(map(len, datasets.values())) / seconds
    report = Report(entries, speed, seconds, seed, trunk=trunk, beside=beside or {}, about=about)
    return broadcast_object_list([report])[0] if distributed else report


def checked_labels(tasks: dict[str, dict[str, Any]], datasets: dict[str, Dataset]) -> dict[str, np.ndarray]:
    """The labels of each dataset, once all of them can be judged; else one message with every fault."""
    if not datasets:
        raise ValueError("There is nothing to evaluate: give one dataset or more, {task: dataset}.")
    labels, faults = {}, []
    for name, dataset in datasets.items():
        if name not in tasks:
            faults.append(unknown("task", name, tasks))
        elif fault := unfit(name, tasks[name], dataset):
            faults.append(fault)
        else:
            labels[name] = np.asarray(dataset.with_format(None)["label"][:])
    if faults:
        raise ValueError("\n".join(faults))
    return labels


def unfit(name: str, task: dict[str, Any], dataset: Dataset) -> str | None:
    """Why a task cannot be judged on a dataset, or None."""
    objective = build_objective(task["objective"])
    if task["metric"] not in fitting(objective):
        return unknown(f"metric of task '{name}':", task["metric"], fitting(objective))
    if not len(dataset):
        return f"The dataset of task '{name}' is empty. Give one row or more."
    return misfit(name, task, dataset)


def fitting(objective: Objective) -> list[str]:
    """The metrics that can judge an objective: those of classes, or those of numbers."""
    return [name for name, metric in METRICS.items() if metric.of_classes == bool(objective.labels)]


def predicted(
    predictor: Predictor, name: str, dataset: Dataset, *, distributed: bool
) -> tuple[np.ndarray, np.ndarray, float]:
    """Scores [n, outputs], values [n] and the seconds that the slowest process took; labels are not looked at."""
    state = processes() if distributed else None
    rank, world = (state.process_index, state.num_processes) if state else (0, 1)
    n, share = len(dataset), -(-len(dataset) // world)
    # Passes of a sharded model are collective: every process predicts equally many rows, the last ones repeated.
    rows = [row % n for row in range(rank, share * world, world)]
    columns = text_columns(predictor.tasks[name])
    texts = dataset.with_format(None).select_columns(columns)[rows]

    start = time.perf_counter()
    prediction = predictor.predict(name, *(texts[column] for column in columns))
    scores, values = (answer.detach().cpu().double().numpy() for answer in (prediction.scores, prediction.values))
    seconds = time.perf_counter() - start
    if len(scores) != share or len(values) != share:
        raise ValueError(
            f"Task '{name}' gave {share:,} rows to the predictor and needs as many answers. "
            f"Got {len(scores):,} scores and {len(values):,} values."
        )

    parts: list[tuple[np.ndarray, np.ndarray, float]] = [(scores, values, seconds)]
    parts = gather_object(parts) if distributed else parts
    scores, values = interleaved([part[0] for part in parts], n), interleaved([part[1] for part in parts], n)
    if lost := np.count_nonzero(np.isnan(scores).any(-1)):
        raise NotFinite(
            f"The scores of task '{name}' are not numbers in {lost:,} of {n:,} rows: the model has diverged. "
            "Train it with a lower learning rate, or clip its gradients."
        )
    if build_objective(predictor.tasks[name]["objective"]).labels:
        values = values.astype(int)
    return scores, values, max(part[2] for part in parts)


def interleaved(parts: list[np.ndarray], n: int) -> np.ndarray:
    """The n rows in order, where part r holds rows r, r + len(parts), ..."""
    return np.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])[:n]


def judged(
    task: dict[str, Any], scores: np.ndarray, values: np.ndarray, labels: np.ndarray, *, resamples: int, seed: int
) -> dict[str, Any]:
    """A task's entry in the report: its own metric first, then the others of its kind."""
    objective, own = build_objective(task["objective"]), task["metric"]
    names = list(objective.labels or ())
    classes = len(names) or None
    if classes:
        labels = labels.astype(int)
    ordered = sorted(fitting(objective), key=lambda metric: metric != own)
    entry: dict[str, Any] = {"metric": own, "scored": task["scored"]}
    entry |= {metric: METRICS[metric].measure(values, labels, classes=classes) for metric in ordered}
    if resamples:
        entry["ci95"] = list(bootstrap(own, values, labels, resamples=resamples, seed=seed, classes=classes))
    loss = objective.loss(torch.from_numpy(scores), torch.from_numpy(labels)).mean().item()
    entry["loss"] = loss if math.isfinite(loss) else None
    if entry["loss"] is None:
        entry["loss_reason"] = "infinite: a true label was given no probability at all"
    if classes:
        confusion = confusion_matrix(labels, values, labels=range(classes))
        entry |= {"labels": names, "confusion": confusion.tolist()}
    return entry
