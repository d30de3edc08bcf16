"""Whether rows are what a task reads: its columns, and labels that its objective knows."""

from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np

from ..models.objectives import build_objective

__all__ = ["misfit", "text_columns"]


def text_columns(task: Mapping[str, Any]) -> list[str]:
    return ["first", "second"] if task["pair"] else ["first"]


def misfit(name: str, task: Mapping[str, Any], rows: datasets.Dataset, *, learnt: bool = False) -> str | None:
    """Why rows with the columns first, second (of pairs) and label do not fit a task, or None.

    What is `learnt` may also be probabilities, of the second class or of each.
    """
    if missing := [column for column in text_columns(task) if column not in rows.column_names]:
        columns = ", ".join(rows.column_names) or "none"
        return f"The dataset of task '{name}' needs {', '.join(missing)}. Its columns are {columns}."
    labels: Any = rows.with_format(None)["label"][:] if "label" in rows.column_names else [None]
    if None in labels:
        return f"The dataset of task '{name}' has rows without a label. Give rows that are labelled throughout."
    if learnt and labels and isinstance(labels[0], list):
        return None
    objective = build_objective(task["objective"])
    complain = objective.target_complaint if learnt else objective.complaint
    complaints = [why for label in np.unique(labels) if (why := complain(label))]
    return f"The dataset of task '{name}': {'; '.join(complaints[:3])}." if complaints else None
