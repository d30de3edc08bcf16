"""Rows whose labels are what an ensemble says of them, for the ordinary trainer."""

import datasets
import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from ..models.objectives import Objective

__all__ = ["soften"]


def soften(rows: Dataset, scores: Tensor, objective: Objective, *, trust: float = 1.0) -> Dataset:
    """Rows to learn what `scores` [rows, outputs] say of them (Hinton et al., 2015).

    A label becomes the probability of each class (that of the second one, where there is one logit), or a number. It
    is the teacher's with the share `trust`, and the row's own with the rest: the loss is then that mean of the losses
    towards both, but for a constant.
    """
    answers = objective.answers(scores.double()).numpy()
    given = np.asarray(rows.with_format(None)["label"][:])
    if objective.labels is None:
        return relabelled(rows, trust * answers[:, 0] + (1 - trust) * given)
    mixed = trust * answers + (1 - trust) * np.eye(len(objective.labels))[given.astype(int)]
    return relabelled(rows, mixed[:, 1] if objective.outputs == 1 else mixed)


def relabelled(rows: Dataset, labels: np.ndarray) -> Dataset:
    kind = datasets.Value("float32")
    feature = kind if labels.ndim == 1 else datasets.List(kind, length=labels.shape[1])
    plain = rows.with_format(None).remove_columns("label")
    return plain.add_column("label", list(torch.from_numpy(labels).float().tolist()), feature=feature)
