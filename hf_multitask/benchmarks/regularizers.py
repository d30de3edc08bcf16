"""What SMART and the Bregman term cost, beside smart-pytorch."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from ..models.modeling_multitask import MultitaskModel
from ..models.replay import Replay
from ..regularizers import Bregman, Regularizer, Smart
from ..training.penalties import Penalties
from .turns import Contender
from .workload import Workload

__all__ = ["contenders"]


def contenders(workload: Workload) -> list[Contender]:
    """Training steps with each regularizer; what comes in one of four steps is measured over four."""
    plain = workload.training(workload.model())
    steps = [
        Contender("plain", plain),
        Contender("Smart", regularized(workload, Smart(weight=1)), goal=2.6),
        Contender("Bregman", regularized(workload, Bregman(weight=1)), goal=1.4),
        Contender("Smart and Bregman", regularized(workload, Smart(weight=1), Bregman(weight=1)), goal=3.0),
        Contender("plain, four steps", four(plain)),
        Contender(
            "Smart every 4, four steps",
            four(regularized(workload, Smart(weight=1, every=4))),
            against="plain, four steps",
            goal=1.45,
        ),
    ]
    if find_spec("smart_pytorch"):
        steps.append(Contender("smart-pytorch", workload.training(model := workload.model(), peer(workload, model))))
    return steps


def regularized(
    workload: Workload, *regularizers: Regularizer, model: MultitaskModel | None = None
) -> Callable[[int], None]:
    model = workload.model() if model is None else model
    accelerator = Accelerator(cpu=workload.device == "cpu")
    penalties = Penalties(regularizers, model, tasks=list(model.tasks), accelerator=accelerator, seed=0)
    for follower in penalties.followers:
        follower.begin(model)

    def backward(batch: Mapping[str, Any]) -> None:
        with workload.autocast():
            loss = model(**batch, regularize=penalties if penalties.due else None).loss
        loss.backward()

    train = workload.training(model, backward)

    def step(i: int) -> None:
        penalties.step = i
        train(i)
        for follower in penalties.followers:
            follower.follow(model, update=i + 1, updates=1000)
        penalties.found.clear()

    return step


def four(step: Callable[[int], None]) -> Callable[[int], None]:
    def steps(i: int) -> None:
        for k in range(4 * i, 4 * i + 4):
            step(k)

    return steps


def peer(workload: Workload, model: Any) -> Callable[[Mapping[str, Any]], None]:
    """As smart-pytorch's documentation says: a function from embeddings to scores, and its own divergences."""
    smart = import_module("smart_pytorch")

    def together(scores: Mapping[str, Tensor]) -> Tensor:
        widest = max(score.shape[1] for score in scores.values())
        return torch.cat([F.pad(score.float(), (0, widest - score.shape[1])) for score in scores.values()])

    def backward(batch: Mapping[str, Any]) -> None:
        seen: list[Replay] = []

        def look(replay: Replay, scores: dict[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
            seen.append(replay)
            return {}

        with workload.autocast():
            output = model(**batch, regularize=look)
            embedded = seen[0].words
            penalty = smart.SMARTLoss(
                lambda words: together(model.read(seen[0].batch, words)), smart.kl_loss, smart.sym_kl_loss
            )
            loss = output.loss + penalty(embedded, together(output.scores))
        loss.backward()

    return backward
