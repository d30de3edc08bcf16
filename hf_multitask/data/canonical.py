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
    if fault := text_fault(task, rows):
        return f"The dataset of task '{name}' {fault}"
    labels: Any = rows.with_format(None)["label"][:] if "label" in rows.column_names else [None]
    if None in labels:
        return f"The dataset of task '{name}' has rows without a label. Give rows that are labelled throughout."
    objective = build_objective(task["objective"])
    complain = objective.target_complaint if learnt else objective.complaint
    several = bool(labels) and isinstance(labels[0], list)
    complaints = dict.fromkeys(why for label in (labels if several else np.unique(labels)) if (why := complain(label)))
    return f"The dataset of task '{name}': {'; '.join(list(complaints)[:3])}." if complaints else None


def text_fault(task: Mapping[str, Any], rows: datasets.Dataset) -> str | None:
    """Why what should be read is no text, or None."""
    for column in text_columns(task):
        kind = rows.features[column]
        if getattr(kind, "dtype", None) not in ("string", "large_string"):
            return f"has no texts in {column}, but {getattr(kind, 'dtype', kind)}. Give strings."
        if rows.data.column(column).null_count:
            texts: Any = rows.with_format(None)[column][:]
            if None in texts:
                return f"has no text in {column} of row {texts.index(None)}. Leave such rows out."
    return None
