"""The memory of training with everything on, with and without activation checkpointing."""

from collections.abc import Callable

from ..models.modeling_multitask import MultitaskModel
from ..regularizers import Bregman, Smart
from ..tuners.pal import PalConfig
from .pals import tuned
from .regularizers import regularized
from .turns import Contender
from .workload import Workload

__all__ = ["contenders"]


def contenders(workload: Workload) -> list[Contender]:
    """Plain steps, and steps with PALs, SMART and a Bregman teacher."""
    name = "PALs, Smart and Bregman"
    return [
        Contender("plain", workload.training(workload.model())),
        Contender("plain, checkpointed", workload.training(checkpointed(workload.model()))),
        Contender(name, full(workload, pals(workload))),
        Contender(f"{name}, checkpointed", full(workload, checkpointed(pals(workload))), against=name),
    ]


def pals(workload: Workload) -> MultitaskModel:
    return tuned(workload, PalConfig(width=204))


def full(workload: Workload, model: MultitaskModel) -> Callable[[int], None]:
    return regularized(workload, Smart(weight=1), Bregman(weight=1), model=model)


def checkpointed(model: MultitaskModel) -> MultitaskModel:
    model.activation_checkpointing_enable()
    return model
