"""Predictions for rows without labels, in the form that the CS224N course hands in."""

import math
import os
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..report import replace_text

__all__ = ["answers_file", "write_submission"]

FILES = {"qqp": "para"}
HEADERS = {"qqp": "Predicted_Is_Paraphrase", "sts": "Predicted_Similarity", "sick": "Predicted_Similarity"}


def write_submission(
    folder: str | os.PathLike, task: str, split: str, ids: Sequence[Any], values: Sequence[float] | np.ndarray | Tensor
) -> Path:
    """Write one task's predictions, one `id , value` a row, and give the file's path.

    The file is {task}-{split}-output.csv, with `para` for qqp. Integers, which are label ids, stay integers.
    """
    answers = values.tolist() if isinstance(values, Tensor) else list(values)
    if len(ids) != len(answers):
        raise ValueError(f"Task '{task}' needs one prediction per id. Got {len(ids)} ids, {len(answers)} predictions.")
    if strange := [str(name) for name, answer in zip(ids, answers, strict=True) if not math.isfinite(answer)]:
        raise ValueError(
            f"Task '{task}' needs finite predictions. {len(strange)} of {len(answers)} are not, the first for id "
            f"{strange[0]}. The model has diverged: train it with a lower learning rate."
        )
    header = f"id \t {HEADERS.get(task, 'Predicted_Sentiment')}"
    rows = [f"{name} , {written(answer)}" for name, answer in zip(ids, answers, strict=True)]
    path = Path(folder, answers_file(task, split))
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, "\n".join([header, *rows]) + "\n")
    return path


def answers_file(task: str, split: str) -> str:
    return f"{FILES.get(task, task)}-{split}-output.csv"


def written(answer: float) -> str:
    return str(int(answer)) if isinstance(answer, Integral) else repr(float(answer))
