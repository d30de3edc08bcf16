"""What every regularizer is."""

import inspect
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models.modeling_multitask import MultitaskModel
from ..models.replay import Replay

__all__ = ["Follower", "Regularizer", "Rows", "divergences"]

Rows = dict[str, Tensor]
"""For each task a number a row [n]."""


class Regularizer(ABC):
    """A penalty on answering differently than before a small change, of the input or of the weights.

    Called with a pass that can be repeated and its scores by task [n, outputs], it gives the divergence of each row,
    whose mean times `weight` joins the task's loss, and by name what else is worth logging of each row. It is applied
    in one of `every` steps, drawn by chance, with its weight times `every`, to a share of the rows of each task,
    `fraction`.

    `repeats` says that the scores must come from the very pass that is repeated, `climbs` that it goes backwards within
    the model's pass forward. `measures` are the names of what else is logged, `levers` what makes the penalty larger.
    """

    repeats = False
    climbs = False
    measures: tuple[str, ...] = ()
    levers = "weight"

    def __init__(self, weight: float, *, every: int, fraction: float):
        name = self.name
        if not weight >= 0:
            raise ValueError(f"weight of {name} must be 0 or more. Got {weight:g}.")
        if every < 1:
            raise ValueError(f"every of {name} must be 1 or more: one of so many steps. Got {every}.")
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction of {name} must be above 0, and 1 at most. Got {fraction:g}.")
        self.weight, self.every, self.fraction = weight, every, fraction

    @abstractmethod
    def __call__(self, replay: Replay, scores: Rows, *, seed: int, step: int) -> tuple[Rows, dict[str, Rows]]: ...

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def key(self) -> str:
        """What its learning curves begin with."""
        return self.name.lower()

    def describe(self) -> dict[str, Any]:
        """A plain description that `build_regularizer` turns back into this object."""
        options = {name: vars(self)[name] for name in inspect.signature(type(self)).parameters}
        return {"class": self.name, **options}

    def doubt(self, precision: str) -> str | None:
        """What speaks against training in a mixed precision, as accelerate calls it: no, fp16 or bf16."""
        return None


class Follower(Regularizer):
    """A regularizer that follows the weights over the whole training, and has a state that checkpoints hold."""

    @abstractmethod
    def begin(self, model: MultitaskModel) -> None:
        """Training starts, with the weights that the model has now."""

    @abstractmethod
    def follow(self, model: MultitaskModel, *, update: int, updates: int) -> None:
        """The optimizer has made an update, the first of all `updates` being number 1."""

    @abstractmethod
    def finish(self, model: MultitaskModel, folder: Path) -> None:
        """Training into `folder` has ended."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold to go on from it."""

    @abstractmethod
    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint, after `begin`."""


def divergences(model: MultitaskModel, scores: Rows, others: Rows) -> Rows:
    """How far two scores of the same rows answer differently, in single precision at least."""
    full = {
        name: [one.to(torch.promote_types(one.dtype, torch.float)) for one in (score, others[name])]
        for name, score in scores.items()
    }
    return {name: model.objectives[name].divergence(*both) for name, both in full.items()}
