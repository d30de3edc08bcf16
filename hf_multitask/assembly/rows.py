"""The rows that a recipe reads: checked, limited, or streamed."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from ..data.rows import load_all, overlap
from ..data.streams import RowStream
from ..models.construct import construct
from ..sections.parts import SOURCES, DataSection
from ..tasks import TASKS, Task

__all__ = ["Rows", "load_rows"]

logger = logging.getLogger(__name__)

Rows = dict[str, dict[str, Dataset]]


def load_rows(
    tasks: Iterable[Task],
    data: DataSection,
    splits: Iterable[str],
    *,
    seed: int = 0,
    own: Mapping[str, dict] | None = None,
) -> Rows:
    """Checked rows by split and task, from the common source or a task's `own`; those of training joined and limited,
    or streamed."""
    tasks, splits = list(tasks), list(splits)
    sources = {task.name: construct("source", SOURCES, (own or {}).get(task.name) or data.source) for task in tasks}
    streams: Any = {
        (task.name, "train"): RowStream(task, "train", sources[task.name], data.on_bad_row)
        for task in tasks
        if task.name in data.stream
    }
    wanted = [(task, split, sources[task.name]) for task in tasks for split in splits]
    loaded = (
        load_all([one for one in wanted if (one[0].name, one[1]) not in streams], on_bad_row=data.on_bad_row) | streams
    )
    rows: Rows = {split: {task.name: loaded[task.name, split] for task in tasks} for split in splits}
    for name, train in rows.get("train", {}).items():
        if name in data.stream:
            continue
        task = next(task for task in tasks if task.name == name)
        further = [joined(task, TASKS[other], data, seed=seed) for other in data.join.get(name, ())]
        train = concatenate_datasets([train, *further]) if further else train
        if "dev" in rows and (shared := overlap(train, rows["dev"][name])).dev:
            logger.warning("%s: %d of %d dev rows stand in train too.", name, shared.dev, len(rows["dev"][name]))
        rows["train"][name] = limited(train, data.limit.get(name), seed=seed)
    return rows


def joined(task: Task, other: Task, data: DataSection, *, seed: int) -> Dataset:
    """All rows with labels that the common source has of `other`, as rows of `task`; as many as its limit says."""
    if other.pair != task.pair or other.objective.labels != task.objective.labels or scale(other) != scale(task):
        raise ValueError(
            f"data.join: rows of '{other.name}' are none of '{task.name}': their labels mean other things."
        )
    source = construct("source", SOURCES, data.source)
    found = load_all([(other, split, source) for split in source.splits(other)], on_bad_row=data.on_bad_row)
    labelled = [rows for rows in found.values() if "label" in rows.column_names]
    if not labelled:
        raise ValueError(f"data.join: the source has no rows of '{other.name}'.")
    return limited(concatenate_datasets(labelled), data.limit.get(other.name), seed=seed)


def scale(task: Task) -> tuple[Any, Any]:
    """From where to where a task's numbers go; of classes nothing."""
    return getattr(task.objective, "low", None), getattr(task.objective, "high", None)


def limited(rows: Dataset, limit: int | None, *, seed: int) -> Dataset:
    """So many rows, drawn by the seed, in their order."""
    if limit is None or limit >= len(rows):
        return rows
    drawn = np.random.default_rng(seed).choice(len(rows), size=limit, replace=False)
    return rows.select(np.sort(drawn))
