"""Bregman proximal points: answers that stay near those of slower weights."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..models.batch import Batch
from ..models.construct import construct
from ..models.dropout import without_dropout
from ..models.modeling_multitask import MultitaskModel
from ..models.replay import Replay
from .regularizer import Follower, Rows, divergences

__all__ = ["BetaSchedule", "Bregman"]


class BetaSchedule:
    """The momentum of an average of weights: `start` in the first part of all updates, `after`, and then `end`.

    >>> beta = BetaSchedule(0.99, 0.999, after=0.1)
    >>> [beta(update, 100) for update in (1, 10, 11)]
    [0.99, 0.99, 0.999]
    """

    def __init__(self, start: float = 0.99, end: float = 0.999, *, after: float = 0.1):
        for name, share in (("start", start), ("end", end), ("after", after)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} of BetaSchedule must be between 0 and 1. Got {share:g}.")
        self.start, self.end, self.after = start, end, after

    def __call__(self, update: int, updates: int) -> float:
        return self.start if update <= self.after * updates else self.end


class Bregman(Follower):
    """Bregman proximal point optimization (Jiang et al., 2020, algorithm 1), with momentum as they ran it (MBPP).

    The penalty is the divergence of the model's answers from its teacher's on the same rows. After each update of the
    optimizer the teacher's weights become beta times themselves plus 1 - beta times the model's; the teacher answers
    without dropout, and learns in no other way. `beta` is a number, or the paper's schedule: .99 in the first tenth
    of all updates, then .999. The paper's weight is 1. Only weights that train are averaged, in single precision:
    frozen ones are shared.

    Without `momentum` the teacher has the weights before the last update. (Those of the current step, with which the
    paper's plain method begins, would give no gradient while each step makes one update.)

    `save_teacher` leaves the last teacher as a model of its own in the folder `teacher` of the run.

    >>> from hf_multitask import SST, MinBertConfig, MultitaskConfig
    >>> small = MinBertConfig(hidden_size=24, intermediate_size=48, num_hidden_layers=1)
    >>> model = MultitaskModel(MultitaskConfig(trunk=small, tasks={"sst": SST.describe()}))
    >>> batch = Batch.of(torch.tensor([101, 2307, 102]), torch.tensor([3]), 3, {"sst": torch.tensor([0])})
    >>> replay = Replay(model, batch)
    >>> bregman = Bregman(beta=0.9)
    >>> bregman.begin(model)
    >>> bregman(replay, model.eval().read(replay.batch), seed=0, step=0)[0]["sst"].item()
    0.0
    """

    levers = "weight or beta"

    def __init__(
        self,
        weight: float = 1.0,
        *,
        beta: float | dict[str, Any] | BetaSchedule | None = None,
        momentum: bool = True,
        save_teacher: bool = False,
        every: int = 1,
        fraction: float = 1.0,
    ):
        super().__init__(weight, every=every, fraction=fraction)
        if not momentum and beta is not None:
            raise ValueError("Bregman without momentum has no beta. Give one of them.")
        self.beta = built(beta)
        self.momentum, self.save_teacher = momentum, save_teacher
        # By the names of the model's parameters; the latest weights are kept only where the teacher lags behind them.
        self.teacher: dict[str, Tensor] = {}
        self.latest: dict[str, Tensor] = {}

    def __call__(self, replay: Replay, scores: Rows, *, seed: int, step: int) -> tuple[Rows, dict[str, Rows]]:
        model = replay.model
        held = dict(model.named_parameters())
        weights = {f"model.{name}": weight.detach().to(held[name].dtype) for name, weight in self.teacher.items()}
        with torch.no_grad(), without_dropout(model):
            taught = functional_call(Reading(model), weights, (replay.batch,))
        return divergences(model, scores, taught), {}

    def describe(self) -> dict[str, Any]:
        beta = {"class": "BetaSchedule", **vars(self.beta)} if self.momentum else None
        return {**super().describe(), "beta": beta}

    @torch.no_grad()
    def begin(self, model: MultitaskModel) -> None:
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.teacher = {name: full(weight).clone() for name, weight in trained.items()}
        self.latest = {} if self.momentum else {name: weight.clone() for name, weight in self.teacher.items()}

    @torch.no_grad()
    def follow(self, model: MultitaskModel, *, update: int, updates: int) -> None:
        held = dict(model.named_parameters())
        now = [full(held[name]) for name in self.teacher]
        if self.momentum:
            get_ema_multi_avg_fn(self.beta(update, updates))(list(self.teacher.values()), now, None)
            return
        self.teacher, self.latest = self.latest, self.teacher
        for kept, weight in zip(self.latest.values(), now, strict=True):
            kept.copy_(weight)

    def finish(self, model: MultitaskModel, folder: Path) -> None:
        if self.save_teacher:
            self.save(model, folder / "teacher")

    def save(self, model: MultitaskModel, folder: Path) -> None:
        """Save the teacher as a model that `AutoModel` loads."""
        held = dict(model.named_parameters())
        taught = {id(held[name]): weight for name, weight in self.teacher.items()}
        # A weight that the model holds in several places has several names here, and one above.
        state = {
            name: taught.get(id(weight), weight).detach().to(weight.dtype)
            for name, weight in model.state_dict(keep_vars=True).items()
        }
        model.save_pretrained(folder, state_dict=state)

    def state(self) -> dict[str, Tensor]:
        kept = {"teacher": self.teacher, "latest": self.latest}
        return {f"{part}.{name}": weight for part, weights in kept.items() for name, weight in weights.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        mine = self.state()
        if wrong := sorted(mine.keys() ^ state.keys()) or [n for n in mine if mine[n].shape != state[n].shape]:
            raise ValueError(
                f"The checkpoint's Bregman teacher averages other weights than the ones that train now: {wrong[0]}"
                f"{f' and {len(wrong) - 1} more' if len(wrong) > 1 else ''} differ. Resume with the settings of the "
                "run that left the checkpoint, or without Bregman."
            )
        for name, weight in mine.items():
            weight.copy_(state[name])


class Reading(nn.Module):
    """A model's scores as a module, for its weights to be replaced in."""

    def __init__(self, model: MultitaskModel):
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Rows:
        return self.model.read(batch)


def full(weight: Tensor) -> Tensor:
    """In single precision at least."""
    return weight.to(torch.promote_types(weight.dtype, torch.float))


def built(beta: float | dict[str, Any] | BetaSchedule | None) -> BetaSchedule:
    if isinstance(beta, BetaSchedule):
        return beta
    if isinstance(beta, dict):
        return construct("beta", {"BetaSchedule": BetaSchedule}, beta)
    return BetaSchedule() if beta is None else BetaSchedule(beta, beta)
