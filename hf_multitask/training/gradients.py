"""The gradients of each task in a step, and how they become one: the host of the aggregators."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..aggregators import Aggregator
from ..models.modeling_multitask import MultitaskModel
from ..schedules import Schedule
from .optimizers import owner

__all__ = ["TaskGradients", "misfits"]

BLOCK = 1 << 18
"""How many numbers of each gradient are multiplied at a time, so that they are read from memory once."""

SPLIT = {
    DistributedType.DEEPSPEED: "DeepSpeed takes each gradient away and divides it up as soon as it is there",
    DistributedType.FSDP: "under FSDP no process ever holds one",
}
"""Ways to train on several devices in which no process sees a whole gradient."""


class TaskGradients:
    """Collects one gradient for each task of a step, and writes what an aggregator makes of them to `.grad`.

    Each task gets a pass forward and back of its own rows. What arrives in `.grad` moves into `flat` at once: first
    the tasks' own parameters, which keep their plain gradients, then a row of the shared ones for each task. A
    parameter is a task's own if it lies under the task's name in a ModuleDict, as heads and adapters do. A step holds
    `most` tasks at most.
    """

    def __init__(
        self, aggregator: Aggregator, model: MultitaskModel, *, accelerator: Accelerator, most: int, seed: int
    ):
        self.aggregator, self.accelerator, self.most, self.seed = aggregator, accelerator, most, seed
        name = type(aggregator).__name__
        if accelerator.distributed_type in SPLIT:
            raise ValueError(
                f"{name} needs the whole gradient of each task, and {SPLIT[accelerator.distributed_type]}. "
                "Launch with plain DDP, as accelerate_config.yaml does, or leave the aggregator out."
            )
        self.tasks = list(model.tasks)
        self.trained: list[nn.Parameter] = []
        self.lay_out(model)
        if not self.shared:
            raise ValueError(
                f"{name} works where tasks train the same parameters, and here each trains its own alone. "
                "Unfreeze the trunk, or leave the aggregator out."
            )
        # The tasks of the current step, in the order of their rows, and the slots that something has arrived in.
        self.present: list[str] = []
        self.filled: set[int] = set()
        self.cosines: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
        self.conflicts = np.zeros(2)

    def lay_out(self, model: nn.Module) -> None:
        """Make the slots for the parameters that train now, unless they are there."""
        named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        if list(map(id, named.values())) == list(map(id, self.trained)):
            return
        self.trained = list(named.values())
        self.own = [parameter for name, parameter in named.items() if owner(model, name, self.tasks)]
        mine = set(self.own)
        self.shared = [parameter for parameter in self.trained if parameter not in mine]
        self.width, extra = (sum(map(torch.numel, group)) for group in (self.shared, self.own))
        self.flat = torch.empty(extra + self.most * self.width, device=self.accelerator.device)
        self.rows = self.flat[extra:].view(self.most, self.width)
        self.slots = views(self.flat, self.own)
        for row in self.rows:
            self.slots += views(row, self.shared)

    def collect(
        self,
        model: nn.Module,
        parts: Mapping[str, dict[str, Any]],
        step: Callable[[nn.Module, dict[str, Any]], Tensor],
        *,
        number: int,
    ) -> Tensor:
        """Train on a micro-step's `parts`, the rows of each task alone, by `step`; the sum of the losses.

        After the last micro-step of the optimizer step `number` the gradients are written.
        """
        if not self.present:
            self.lay_out(model)
        losses = []
        # DDP would average each task's gradients by themselves, and again in each micro-step.
        # Accelerate would let it, where the launcher started one process alone.
        wrapped: Any = model
        with wrapped.no_sync() if isinstance(model, DistributedDataParallel) else self.accelerator.no_sync(model):
            for task, part in parts.items():
                with self.into(task):
                    losses.append(step(model, part))
        if self.accelerator.sync_gradients:
            self.write(number)
        return torch.stack(losses).sum()

    @contextmanager
    def into(self, task: str) -> Iterator[None]:
        """Move every gradient that arrives into the slots of a task."""
        if task not in self.present:
            self.present.append(task)
        first = len(self.own) + self.present.index(task) * len(self.shared)
        places = [*range(len(self.own)), *range(first, first + len(self.shared))]
        handles = [
            parameter.register_post_accumulate_grad_hook(partial(self.take, place))
            for place, parameter in zip(places, self.own + self.shared, strict=True)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def take(self, place: int, parameter: Any) -> None:
        """Add a parameter's gradient to a slot, and free it."""
        if place in self.filled:
            self.slots[place].add_(parameter.grad)
        else:
            self.slots[place].copy_(parameter.grad)
            self.filled.add(place)
        parameter.grad = None

    @torch.no_grad()
    def write(self, number: int) -> None:
        """Leave one gradient in the `.grad` of every parameter that any task has reached."""
        rows = self.rows[: len(self.present)]
        # Reduce before projecting: the conflict that matters is between averaged gradients.
        reached = self.reduce()
        weights = self.weights(products(rows), number)
        joined = rows[0].mul_(weights[0])
        for weight, row in zip(weights[1:], rows[1:], strict=True):
            joined.add_(row, alpha=weight)
        parameters = self.own + self.shared
        for parameter, slot, used in zip(parameters, self.slots[: len(parameters)], reached, strict=True):
            parameter.grad = slot.to(parameter.dtype) if used else None
        self.forget()

    def reduce(self) -> list[bool]:
        """Average over processes; which of the own, then of the shared parameters anything has reached, in any."""
        own, shared, count = len(self.own), len(self.shared), len(self.present)
        filled = torch.tensor([place in self.filled for place in range(own + count * shared)])
        for place in (~filled).nonzero().flatten().tolist():
            self.slots[place].zero_()
        if self.accelerator.num_processes > 1:
            counts = filled.to(self.flat.device, torch.int32)
            torch.distributed.all_reduce(counts)
            filled = counts.cpu() > 0
            flat = self.flat[: self.flat.numel() - (self.most - count) * self.width]
            torch.distributed.all_reduce(flat.div_(self.accelerator.num_processes))
        return [*filled[:own].tolist(), *filled[own:].view(count, shared).any(0).tolist()]

    def forget(self) -> None:
        """Begin a step anew."""
        self.present.clear()
        self.filled.clear()

    def weights(self, gramian: Tensor, number: int) -> list[float]:
        """The aggregator's weights for the gradients of a step."""
        if not gramian.isfinite().all():
            # Whoever scales losses looks for this in the gradients, and then leaves the step out.
            return [1.0] * len(gramian)
        lengths = gramian.diagonal().sqrt()
        for (i, one), (j, other) in combinations(enumerate(self.present), 2):
            cosine = float(gramian[i, j] / (lengths[i] * lengths[j]).clamp(min=1e-300))
            self.cosines[f"cosine_{one}_{other}"] += (cosine, 1)
            self.conflicts += (cosine < 0, 1)
        return self.aggregator(gramian, draw=np.random.default_rng([self.seed, number])).tolist()

    def logs(self) -> dict[str, float]:
        """Since the last time: the mean cosine of each pair of tasks' gradients, and the share of negative ones."""
        means = {name: float(total / count) for name, (total, count) in self.cosines.items()}
        if means:
            means["conflicts"] = float(self.conflicts[0] / self.conflicts[1])
        self.cosines.clear()
        self.conflicts[:] = 0
        return means


def products(rows: Tensor) -> Tensor:
    """All inner products of rows [T, numbers], as [T, T] in double precision and on the processor."""
    return torch.stack([block @ block.T for block in rows.split(BLOCK, dim=1)]).cpu().double().sum(0)


def views(flat: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    """The beginning of a flat tensor, in pieces that are shaped like the parameters."""
    sizes = [parameter.numel() for parameter in parameters]
    pieces = flat[: sum(sizes)].split(sizes)
    return [piece.view_as(parameter) for piece, parameter in zip(pieces, parameters, strict=True)]


def misfits(aggregator: Aggregator, schedule: Schedule, tasks: list[str], *, loss: str) -> list[str]:
    """Why an aggregator would have no effect, or not the one that was meant."""
    found = []
    once = dict.fromkeys(tasks, 1)
    plan = schedule.plan(0, 1, sizes=once, passes=once, draw=np.random.default_rng(0))
    if max(map(len, plan)) < 2:
        found.append(
            f"{type(aggregator).__name__} joins the gradients of the tasks in a step, and under "
            f"{type(schedule).__name__} no step of {', '.join(tasks)} holds two. Take two tasks or more under "
            "RoundRobin, or leave the aggregator out."
        )
    if loss != "sum":
        found.append(
            f"An aggregator joins the tasks, and so does loss: {loss}. Leave loss at sum; "
            "the aggregator Mean takes the mean of their gradients."
        )
    return found
