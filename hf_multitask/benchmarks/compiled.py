"""What `torch.compile` makes of a step."""

from collections.abc import Callable

from .turns import Contender
from .workload import Workload

__all__ = ["contenders"]


def contenders(workload: Workload) -> list[Contender]:
    """A step, and the same compiled by torch's own backend for any length; compiling goes untimed."""
    return [
        Contender("step", workload.training(workload.model())),
        Contender("step, torch_compile", compiled(workload)),
    ]


def compiled(workload: Workload) -> Callable[[int], None]:
    model = workload.model()
    model.compile(dynamic=True)
    step = workload.training(model)
    for i in range(workload.batches):
        step(i)
    return step
