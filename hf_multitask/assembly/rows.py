"""The rows that a recipe reads: checked, limited, or streamed."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from datasets import Dataset

from ..data.rows import load_all, overlap
from ..data.streams import RowStream
from ..models.construct import construct
from ..sections.parts import SOURCES, DataSection
from ..tasks import Task

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
    """Checked rows by split and task, from the common source or a task's `own`; training rows limited or streamed."""
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
        if "dev" in rows and (shared := overlap(train, rows["dev"][name])).dev:
            logger.warning("%s: %d of %d dev rows stand in train too.", name, shared.dev, len(rows["dev"][name]))
        if (limit := data.limit.get(name)) and limit < len(train):
            drawn = np.random.default_rng(seed).choice(len(train), size=limit, replace=False)
            rows["train"][name] = train.select(np.sort(drawn))
    return rows
