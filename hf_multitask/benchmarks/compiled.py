"""What `torch.compile` makes of a step."""

from collections.abc import Callable

from .turns import Contender
from .workload import Workload

__all__ = ["contenders"]

BACKEND = "inductor"
"""Torch's own, which needs a C++ compiler."""


def contenders(workload: Workload) -> list[Contender]:
    """A step, and the same compiled for any length; compiling goes untimed."""
    return [
        Contender("step", workload.training(workload.model())),
        Contender("step, torch_compile", compiled(workload)),
    ]


def compiled(workload: Workload) -> Callable[[int], None]:
    model = workload.model()
    model.compile(dynamic=True, backend=BACKEND)
    step = workload.training(model)
    for i in range(workload.batches):
        step(i)
    return step
