"""What a task is trained towards: the loss of each row, and how scores become answers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .construct import construct, unknown

__all__ = ["Binary", "Brier", "Classification", "CosineEmbedding", "Objective", "Prediction", "Regression"]


LOGITS = (-5.0, 5.0)
"""Logits as good as sure of either answer."""


@dataclass(frozen=True)
class Prediction:
    """Answers for n rows.

    `scores` [n, outputs] are what the head gave, over the task's temperature; `values` [n] the label ids or numbers
    read from them; `probabilities` [n, classes] and the label `names` are there when the task has classes.
    """

    scores: Tensor
    values: Tensor
    probabilities: Tensor | None = None
    names: tuple[str, ...] | None = None

    @property
    def labels(self) -> list[str]:
        """The name of each row's label."""
        if self.names is None:
            raise ValueError("A task without classes has no label names. Read `values`.")
        return [self.names[int(value)] for value in self.values]


class Objective(ABC):
    """The training target of one task.

    `loss` maps scores [n, outputs] and labels [n] to one loss a row, so that rows can carry weights. `divergence` says
    how far two scores [n, outputs] of the same rows answer differently: zero where they are equal, the same both ways.
    `answers` are what scores [.., outputs] say, probabilities [.., classes] or numbers [.., 1], which may be averaged;
    `scores_of` leads from there to scores, and never to infinite ones.
    """

    outputs: int
    labels: tuple[str, ...] | None

    @property
    @abstractmethod
    def space(self) -> tuple[Any, ...]:
        """What its labels may be. Objectives of one space answer the same question."""

    @property
    def reach(self) -> tuple[float, float]:
        """Scores that mean the lowest and the highest answer, where one score is all."""
        return LOGITS

    @abstractmethod
    def loss(self, scores: Tensor, labels: Tensor) -> Tensor: ...

    @abstractmethod
    def divergence(self, scores: Tensor, others: Tensor) -> Tensor: ...

    @abstractmethod
    def answers(self, scores: Tensor) -> Tensor: ...

    @abstractmethod
    def scores_of(self, answers: Tensor) -> Tensor: ...

    @abstractmethod
    def decode(self, scores: Tensor) -> Prediction: ...

    @abstractmethod
    def complaint(self, label: Any) -> str | None:
        """Why `label` is no label of this task, or None."""

    def target_complaint(self, label: Any) -> str | None:
        """Why `label` is nothing to be learnt, or None: a teacher's answers are no labels and can be."""
        return self.complaint(label)

    def describe(self) -> dict[str, Any]:
        """A plain description that `build_objective` turns back into this object."""
        options = {key: list(v) if isinstance(v, tuple) else v for key, v in vars(self).items()}
        return {"class": type(self).__name__, **options}


class Labelled(Objective):
    """An objective whose labels are the ids 0, 1, ... of a fixed list of names."""

    labels: tuple[str, ...]

    @property
    def space(self) -> tuple[Any, ...]:
        return self.labels

    def complaint(self, label: Any) -> str | None:
        if label in range(len(self.labels)):
            return None
        return f"label {shown(label)} is not one of the ids 0 to {len(self.labels) - 1} ({', '.join(self.labels)})"


@dataclass(frozen=True)
class Classification(Labelled):
    """Cross-entropy over classes; scores [n, classes], labels [n], or [n, classes] where they are probabilities.

    >>> Classification(["bad", "fair", "good"]).decode(torch.tensor([[0.0, 0.0, 4.0]])).values
    tensor([2])
    """

    labels: tuple[str, ...]

    def __init__(self, labels: Sequence[str]):
        object.__setattr__(self, "labels", checked_names(labels, at_least=2))

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return len(self.labels)

    def target_complaint(self, label: Any) -> str | None:
        if not isinstance(label, list | tuple):
            return self.complaint(label)
        if len(label) == len(self.labels) and min(label) >= 0 and math.isclose(sum(label), 1, abs_tol=1e-3):
            return None
        return f"label {shown(label)} is not {len(self.labels)} probabilities with a sum of 1"

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(scores, labels.long() if labels.dim() == 1 else labels.to(scores), reduction="none")

    def divergence(self, scores: Tensor, others: Tensor) -> Tensor:
        """KL(p, q) + KL(q, p), which is (p - q) (log p - log q), where both normalisations cancel."""
        return ((scores.softmax(-1) - others.softmax(-1)) * (scores - others)).sum(-1)

    def answers(self, scores: Tensor) -> Tensor:
        return scores.softmax(-1)

    def scores_of(self, answers: Tensor) -> Tensor:
        return finite_log(answers)

    def decode(self, scores: Tensor) -> Prediction:
        return Prediction(scores, scores.argmax(-1), scores.softmax(-1), self.labels)


@dataclass(frozen=True)
class Binary(Labelled):
    """Binary cross-entropy on one logit; scores [n, 1], label 1 is the second name, .5 is either."""

    labels: tuple[str, ...] = ("no", "yes")
    outputs = 1

    def __init__(self, labels: Sequence[str] = ("no", "yes")):
        names = checked_names(labels, at_least=2)
        if len(names) != 2:
            raise ValueError(f"Binary has two labels. Got {len(names)}: {', '.join(names)}. Use Classification.")
        object.__setattr__(self, "labels", names)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(scores.squeeze(-1), labels.to(scores.dtype), reduction="none")

    def target_complaint(self, label: Any) -> str | None:
        return None if isinstance(label, Real) and 0 <= float(label) <= 1 else self.complaint(label)

    def divergence(self, scores: Tensor, others: Tensor) -> Tensor:
        """KL(p, q) + KL(q, p) of the two Bernoulli distributions."""
        return ((scores.sigmoid() - others.sigmoid()) * (scores - others)).squeeze(-1)

    def answers(self, scores: Tensor) -> Tensor:
        return torch.cat([(-scores).sigmoid(), scores.sigmoid()], dim=-1)

    def scores_of(self, answers: Tensor) -> Tensor:
        no, yes = finite_log(answers).split(1, dim=-1)
        return yes - no

    def decode(self, scores: Tensor) -> Prediction:
        chance = scores.squeeze(-1).sigmoid()
        # A probability near a half would be rounded to it.
        return Prediction(
            scores, (scores.squeeze(-1) > 0).long(), torch.stack([1 - chance, chance], dim=-1), self.labels
        )


@dataclass(frozen=True)
class Brier(Binary):
    """Squared error of the probability that one logit gives; scores and labels as Binary's.

    The score of Brier (1950), which, unlike cross-entropy, never punishes a mistake by more than 1.

    >>> Brier().loss(torch.tensor([[0.0]]), torch.tensor([1]))
    tensor([0.2500])
    """

    def __init__(self, labels: Sequence[str] = ("no", "yes")):
        super().__init__(labels)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return (scores.squeeze(-1).sigmoid() - labels.to(scores.dtype)).square()


class Ranged(Objective):
    """An objective whose labels are numbers from `low` to `high`."""

    low: float
    high: float
    outputs = 1
    labels = None

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"{type(self).__name__} needs low < high. Got low {self.low:g}, high {self.high:g}.")

    @property
    def space(self) -> tuple[Any, ...]:
        return float(self.low), float(self.high)

    @property
    def reach(self) -> tuple[float, float]:
        return self.low, self.high

    def predicted(self, scores: Tensor) -> Tensor:
        """What the objective compares with labels, from scores [n, 1]."""
        return scores.squeeze(-1)

    def divergence(self, scores: Tensor, others: Tensor) -> Tensor:
        """The squared difference."""
        return (self.predicted(scores) - self.predicted(others)).square()

    def complaint(self, label: Any) -> str | None:
        if isinstance(label, Real) and self.low <= float(label) <= self.high:
            return None
        return f"label {shown(label)} is outside {self.low:g} to {self.high:g}"

    def target_complaint(self, label: Any) -> str | None:
        # A teacher's number may lie beyond the range.
        return None if isinstance(label, Real) and math.isfinite(label) else self.complaint(label)


@dataclass(frozen=True)
class Regression(Ranged):
    """Squared error on a number from `low` to `high`; scores [n, 1].

    With `bounded` the score passes through a sigmoid that spans the range, so that no prediction leaves
    it; without, the score is the prediction, clipped only when it is decoded.
    """

    low: float
    high: float
    bounded: bool = False

    @property
    def reach(self) -> tuple[float, float]:
        # What is bounded passes through a sigmoid, as a logit does.
        return LOGITS if self.bounded else super().reach

    def predicted(self, scores: Tensor) -> Tensor:
        scores = super().predicted(scores)
        return self.low + (self.high - self.low) * scores.sigmoid() if self.bounded else scores

    def answers(self, scores: Tensor) -> Tensor:
        return self.predicted(scores)[..., None]

    def scores_of(self, answers: Tensor) -> Tensor:
        if not self.bounded:
            return answers
        share = (answers - self.low) / (self.high - self.low)
        return finite_log(share) - finite_log(1 - share)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(self.predicted(scores), labels.to(scores.dtype), reduction="none")

    def decode(self, scores: Tensor) -> Prediction:
        return Prediction(scores, self.predicted(scores).clamp(self.low, self.high))


@dataclass(frozen=True)
class CosineEmbedding(Ranged):
    """Cosine-embedding loss on the bare cosine of two embeddings; scores [n, 1] in [-1, 1].

    A pair of label `high` is drawn together by 1 - cos, one of label `low` is pushed below `margin` by
    max(0, cos - margin); a label between them mixes both in proportion.
    """

    low: float = 0.0
    high: float = 1.0
    margin: float = 0.0

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        cosine = scores.squeeze(-1)
        # A teacher's number may lie beyond the range.
        near = ((labels.to(scores.dtype) - self.low) / (self.high - self.low)).clamp(0, 1)
        return near * (1 - cosine) + (1 - near) * (cosine - self.margin).clamp(min=0)

    def answers(self, scores: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * scores

    def scores_of(self, answers: Tensor) -> Tensor:
        return (answers - self.low) / (self.high - self.low)

    def decode(self, scores: Tensor) -> Prediction:
        return Prediction(scores, self.low + (self.high - self.low) * scores.squeeze(-1).clamp(0, 1))


OBJECTIVES: dict[str, type] = {m.__name__: m for m in (Binary, Brier, Classification, CosineEmbedding, Regression)}


def build_objective(spec: dict[str, Any]) -> Objective:
    """The objective that a description such as `{"class": "Regression", "low": 0, "high": 5}` names."""
    return construct("objective", OBJECTIVES, spec)


def translated(scores: Tensor, own: Objective, other: Objective) -> Tensor:
    """Scores [.., outputs] of one objective in terms of another that answers the same question."""
    if own.space != other.space:
        raise ValueError(f"{own.describe()} and {other.describe()} answer different questions. Give both one answer.")
    return scores if own == other else other.scores_of(own.answers(scores))


def temperature_faults(temperatures: Mapping[str, float], tasks: Mapping[str, Any]) -> list[str]:
    """What is wrong with the temperatures that divide the scores of tasks before they are decoded."""
    faults = [unknown("task of temperatures", name, tasks) for name in temperatures if name not in tasks]
    for name, value in temperatures.items():
        if not value > 0:
            faults.append(f"temperatures.{name} must be above zero. Got {value:g}.")
        if name in tasks and build_objective(tasks[name]["objective"]).labels is None:
            faults.append(f"temperatures.{name}: a task with numbers has none.")
    return faults


def shown(label: Any) -> str:
    return f"{float(label):g}" if isinstance(label, Real) else f"'{label}'"


def finite_log(shares: Tensor) -> Tensor:
    return shares.clamp_min(torch.finfo(shares.dtype).tiny).log()


def checked_names(labels: Sequence[str], *, at_least: int) -> tuple[str, ...]:
    names = tuple(str(label) for label in labels)
    if len(names) < at_least or len(set(names)) < len(names):
        raise ValueError(f"Labels must be {at_least} or more different names. Got {list(names)}.")
    return names
