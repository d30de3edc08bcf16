"""What optimizers know of tasks: to leave idle ones alone where each has a gradient, and that scalars learn faster."""

from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from ..models.heads import Cosine
from ..models.modeling_multitask import MultitaskModel

__all__ = ["SparingAdamW", "WholeState", "groups", "hasten", "owner"]


class SparingAdamW(torch.optim.AdamW):
    """AdamW that leaves every group whose `task` is among `idle` exactly as it is: no update, no decay, no memory.

    A parameter without gradient is left alone by any optimizer. Under ZeRO each has one, of zeros, by which AdamW would
    still decay it, and move it on by its momentum.

    >>> head = nn.Parameter(torch.ones(1))
    >>> optimizer = SparingAdamW([{"params": [head], "task": "sst"}])
    >>> head.grad, optimizer.idle = torch.zeros(1), {"sst"}
    >>> optimizer.step()
    >>> head.item()
    1.0
    """

    idle: Collection[str] = ()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        every = self.param_groups
        self.param_groups = [group for group in every if group["task"] not in self.idle]
        try:
            return super().step(closure)
        finally:
            self.param_groups = every


class WholeState(TrainerCallback):
    """Gives AdamW a memory of every parameter before its first step, as it would itself at the parameter's own first.

    FSDP loads no checkpoint that lacks any, and that of a task which had not been in a step yet would.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        optimizer = kwargs["optimizer"]
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                memory = optimizer.state[parameter]
                if not memory:
                    memory["step"] = torch.zeros((), dtype=torch.float, device=parameter.device)
                    memory["exp_avg"], memory["exp_avg_sq"] = (torch.zeros_like(parameter) for _ in range(2))


def groups(model: MultitaskModel, decays: Collection[str], weight_decay: float) -> list[dict[str, Any]]:
    """The parameters that learn, apart by the task that owns them and by whether they are among those that decay."""
    found: dict[tuple[str, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found[owner(model, name, model.tasks) or "", name in decays].append(parameter)
    return [
        {"params": parameters, "task": task, "weight_decay": weight_decay if decay else 0.0}
        for (task, decay), parameters in found.items()
    ]


def hasten(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Put the scalars of `Cosine` heads into groups of their own, at a hundred times the rate, or `Cosine.rate`."""
    quick = {head.scalars for head in model.modules() if isinstance(head, Cosine) and head.scalars is not None}
    for group in list(optimizer.param_groups):
        taken = [parameter for parameter in group["params"] if parameter in quick]
        others = [parameter for parameter in group["params"] if parameter not in quick]
        faster = {"params": taken, "lr": max(group["lr"], min(100 * group["lr"], Cosine.rate))}
        if taken and others:
            group["params"] = others
            optimizer.add_param_group({**group, **faster})
        elif taken:
            group.update(faster)


def owner(model: nn.Module, name: str, tasks: Collection[str]) -> str | None:
    """The one task that a parameter belongs to, in its head or an adapter named after it; None if tasks share it."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part in tasks:
            above = model.get_submodule(".".join(parts[:place]))
            if isinstance(above, nn.ModuleDict | nn.ParameterDict):
                return part
    return None
