"""The learning curves of a run, and the watch for what is no number."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

__all__ = ["Curves", "NotFinite"]


class NotFinite(RuntimeError):
    """A loss, a penalty or a score became NaN or infinite."""


class Point(NamedTuple):
    """What one micro-step adds to a curve: `total` over `number` measurements, and how to say what it is."""

    name: str
    total: Tensor
    number: Tensor | float
    step: int
    said: Callable[[], str]


class Curves:
    """Means by name since they were last read. They stay on the device until then, and no step waits for them.

    >>> curves = Curves(["loss_sst"])
    >>> for loss in (1.0, 2.0):
    ...     curves.add("loss_sst", torch.tensor(loss), step=1, said=lambda: "The loss of sst")
    >>> curves.read(Accelerator(cpu=True))
    {'loss_sst': 1.5}
    """

    def __init__(self, names: Iterable[str]):
        self.names = list(names)
        self.points: list[Point] = []
        self.sums: Tensor | None = None

    def add(
        self, name: str, total: Tensor, *, step: int, said: Callable[[], str], number: Tensor | float = 1.0
    ) -> None:
        self.points.append(Point(name, total.detach(), number, step, said))

    def check(self, advice: Callable[[], str]) -> None:
        """Raise where something that came since the last check is no number, and keep the sums of all that is."""
        finite = torch.stack([point.total.float() for point in self.points]).isfinite().tolist() if self.points else []
        for point, good in zip(self.points, finite, strict=True):
            if not good:
                raise NotFinite(f"{point.said()} is not a number at step {point.step}. {advice()}")
        self.fold()

    def fold(self) -> None:
        """Add what came to the sums: what is kept with it may be whole batches."""
        if self.points and self.sums is None:
            self.sums = torch.zeros(len(self.names), 2, device=self.points[0].total.device)
        for point in self.points:
            assert self.sums is not None
            self.sums[self.names.index(point.name), 0] += point.total
            self.sums[self.names.index(point.name), 1] += point.number
        self.points = []

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """The mean of every curve that has grown, over all processes; and begin anew."""
        self.fold()
        sums = torch.zeros(len(self.names), 2, device=accelerator.device) if self.sums is None else self.sums
        self.sums = None
        totals, counts = accelerator.reduce(sums, "sum").cpu().unbind(-1)
        return {
            name: (total / count).item() for name, total, count in zip(self.names, totals, counts, strict=True) if count
        }
