"""What gradient surgery costs, beside torchjd's own."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torchjd.aggregation import PCGrad as TheirPCGrad
from torchjd.autojac import jac_to_grad, mtl_backward

from ..aggregators import Aggregator, PCGrad, UPGrad
from ..data.encoded import split_by_task
from ..models.modeling_multitask import MultitaskModel
from ..training.gradients import TaskGradients
from .turns import Contender
from .workload import Workload

__all__ = ["contenders"]


def contenders(workload: Workload) -> list[Contender]:
    """Training steps on summed losses and by aggregators."""
    return [
        Contender("summed losses", workload.training(workload.model())),
        Contender("PCGrad", workload.training(model := workload.model(), joined(workload, model, PCGrad())), goal=1.25),
        Contender("UPGrad", workload.training(model := workload.model(), joined(workload, model, UPGrad()))),
        Contender("torchjd's PCGrad", workload.training(model := workload.model(), peer(workload, model))),
    ]


def joined(workload: Workload, model: MultitaskModel, aggregator: Aggregator) -> Callable[[Mapping[str, Any]], None]:
    accelerator = Accelerator(cpu=workload.device == "cpu")
    host = TaskGradients(aggregator, model, accelerator=accelerator, most=len(model.tasks), seed=workload.seed)

    def one(model: nn.Module, part: Mapping[str, Any]) -> Tensor:
        with workload.autocast():
            loss = model(**part).loss
        loss.backward()
        return loss.detach()

    def backward(batch: Mapping[str, Any]) -> None:
        host.collect(model, split_by_task(batch), one, number=0)

    return backward


def peer(workload: Workload, model: MultitaskModel) -> Callable[[Mapping[str, Any]], None]:
    """As torchjd's documentation says: one graph, and a row of the Jacobian for each loss."""
    shared: list[Any] = [parameter for parameter in model.trunk.parameters() if parameter.requires_grad]

    pool = model.pool
    pooled: list[Tensor] = []

    def watched(*given: Any) -> Tensor:
        pooled.append(pool(*given))
        return pooled[-1]

    vars(model)["pool"] = watched

    def backward(batch: Mapping[str, Any]) -> None:
        pooled.clear()
        with workload.autocast():
            losses = model(**batch).losses
        heads = [list(model.heads[name].parameters()) for name in losses]
        with torch.random.fork_rng():
            mtl_backward(list(losses.values()), pooled, tasks_params=heads, shared_params=shared, parallel_chunk_size=1)
            jac_to_grad([parameter for parameter in shared if parameter.jac is not None], TheirPCGrad())

    return backward
