"""Whether probabilities mean what they say, and a temperature that makes them."""

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from ..models.objectives import Objective
from ..plots import BINS, bins_of

__all__ = ["calibration_error", "fit_temperature"]

COLDEST, HOTTEST = 0.05, 20.0


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = BINS) -> float:
    """The expected calibration error (Guo et al., 2017) of probabilities [n, classes].

    Rows are put into bins of equal width by the probability of the label that they are given; a bin's error is how far
    its mean probability is from the share of right labels in it, and counts by its rows.

    >>> calibration_error(np.array([[0.25, 0.75]] * 4), np.array([1, 1, 1, 0]))
    0.0
    """
    sure, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    gaps = np.bincount(bins_of(sure, bins), weights=right - sure, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def fit_temperature(scores: Tensor, labels: np.ndarray, objective: Objective) -> float:
    """The temperature by which scores [n, outputs] are divided for the least loss on labels [n] (Guo et al., 2017)."""
    true = torch.from_numpy(np.asarray(labels))

    def loss(logarithm: float) -> float:
        return objective.loss(scores.double() / float(np.exp(logarithm)), true).mean().item()

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0
