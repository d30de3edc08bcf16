"""Which tasks the next step trains."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from .models.construct import construct, unknown

__all__ = [
    "Annealed",
    "Cycle",
    "EndWith",
    "Proportional",
    "RoundRobin",
    "Schedule",
    "Sequential",
    "SquareRoot",
    "Temperature",
    "Uniform",
]

Plan = list[tuple[str, ...]]


class Schedule(ABC):
    """The tasks of every step of an epoch.

    `sizes` counts the rows of each task, `passes` the steps that one pass over them takes. The plan is a
    function of its arguments alone, with `draw` seeded by the caller, so that every process makes the same. `epochs`
    is how many there will be; of a training that ends within its first it is the share of it.
    `every_task` says that no step leaves a task out.
    """

    every_task = False

    @abstractmethod
    def plan(
        self,
        epoch: int,
        epochs: float,
        *,
        sizes: Mapping[str, int],
        passes: Mapping[str, int],
        draw: np.random.Generator,
    ) -> Plan: ...


class RoundRobin(Schedule):
    """Every task in each step; an epoch is one pass over the largest task, unless `steps_per_epoch` is given."""

    every_task = True

    def __init__(self, *, steps_per_epoch: int | None = None):
        self.steps_per_epoch = checked_steps(steps_per_epoch)

    def plan(self, epoch: int, epochs: float, *, sizes: Any, passes: Any, draw: Any) -> Plan:
        return [tuple(passes)] * (self.steps_per_epoch or max(passes.values()))


class Cycle(Schedule):
    """One task a step, each in its turn; an epoch ends with the pass over the largest task.

    With `repeat` small tasks begin anew until then; without, whoever is through waits for the next epoch.
    """

    def __init__(self, *, steps_per_epoch: int | None = None, repeat: bool = True):
        if steps_per_epoch is not None and not repeat:
            raise ValueError("Cycle without repeat takes one pass over each task. Leave out its steps_per_epoch.")
        self.steps_per_epoch, self.repeat = checked_steps(steps_per_epoch), repeat

    def plan(self, epoch: int, epochs: float, *, sizes: Any, passes: Any, draw: Any) -> Plan:
        if not self.repeat:
            return [(name,) for turn in range(max(passes.values())) for name in passes if turn < passes[name]]
        names = list(passes)
        steps = self.steps_per_epoch or len(names) * max(passes.values())
        # Turns go on over epochs: a cut cycle must not favour the first tasks for ever.
        return [(names[(epoch * steps + step) % len(names)],) for step in range(steps)]


class Sequential(Schedule):
    """One task after the other, a whole pass each."""

    def plan(self, epoch: int, epochs: float, *, sizes: Any, passes: Any, draw: Any) -> Plan:
        return [(name,) for name, steps in passes.items() for _ in range(steps)]


class Drawn(Schedule):
    """One task a step, drawn with `probabilities`; an epoch has as many steps as a pass over all tasks."""

    def __init__(self, *, steps_per_epoch: int | None = None):
        self.steps_per_epoch = checked_steps(steps_per_epoch)

    @abstractmethod
    def probabilities(self, epoch: int, epochs: float, sizes: Mapping[str, int]) -> list[float]:
        """The chance of each task, in the order of `sizes`."""

    def plan(self, epoch: int, epochs: float, *, sizes: Any, passes: Any, draw: Any) -> Plan:
        names, p = list(sizes), self.probabilities(epoch, epochs, sizes)
        if len(p) != len(names):
            raise ValueError(f"Schedule must give {len(names)} probabilities, one per task. Got {len(p)}.")
        return [(names[i],) for i in draw.choice(len(names), size=self.length(passes), p=p)]

    def length(self, passes: Mapping[str, int]) -> int:
        return self.steps_per_epoch or sum(passes.values())


class Temperature(Drawn):
    """Task t has probability proportional to size[t] ** (1 / t)."""

    def __init__(self, t: float, *, steps_per_epoch: int | None = None):
        super().__init__(steps_per_epoch=steps_per_epoch)
        if not t > 0:
            raise ValueError(f"Temperature must be above zero. Got {t:g}.")
        self.t = t

    def probabilities(self, epoch: int, epochs: float, sizes: Mapping[str, int]) -> list[float]:
        return powers(sizes, 1 / self.t)


class Proportional(Drawn):
    """Task t has probability proportional to its size."""

    def probabilities(self, epoch: int, epochs: float, sizes: Mapping[str, int]) -> list[float]:
        return powers(sizes, 1.0)


class SquareRoot(Drawn):
    """Task t has probability proportional to the square root of its size."""

    def probabilities(self, epoch: int, epochs: float, sizes: Mapping[str, int]) -> list[float]:
        return powers(sizes, 0.5)


class Uniform(Drawn):
    """Every task is as likely as any other."""

    def probabilities(self, epoch: int, epochs: float, sizes: Mapping[str, int]) -> list[float]:
        return powers(sizes, 0.0)


class Annealed(Drawn):
    """Sample tasks by size at first, nearly evenly by the end.

    Task t has probability proportional to size[t] ** power, and power goes from `start` to `end` in equal
    steps over the epochs (Stickland & Murray, 2019: 1 to .2), or over the steps of a run of one epoch or less.
    """

    def __init__(self, *, start: float = 1.0, end: float = 0.2, steps_per_epoch: int | None = None):
        super().__init__(steps_per_epoch=steps_per_epoch)
        self.start, self.end = start, end

    def probabilities(self, epoch: int, epochs: float, sizes: Mapping[str, int]) -> list[float]:
        return self.after(min(epoch / (epochs - 1), 1.0) if epochs > 1 else 0.0, sizes)

    def after(self, done: float, sizes: Mapping[str, int]) -> list[float]:
        """The chances when so much of the training is done."""
        return powers(sizes, self.start + (self.end - self.start) * done)

    def plan(self, epoch: int, epochs: float, *, sizes: Any, passes: Any, draw: Any) -> Plan:
        if epochs > 1:
            return super().plan(epoch, epochs, sizes=sizes, passes=passes, draw=draw)
        names, steps = list(sizes), self.length(passes)
        last = max(round(steps * epochs) - 1, 1)
        chances = [np.cumsum(self.after(min(step / last, 1.0), sizes)) for step in range(steps)]
        # What rounding leaves above the last sum is the last task's.
        drawn = [
            min(int(np.searchsorted(sums, at, side="right")), len(names) - 1)
            for sums, at in zip(chances, draw.random(steps), strict=True)
        ]
        return [(names[i],) for i in drawn]


class EndWith(Schedule):
    """Another schedule, then a whole pass over one `task` at the end of every epoch."""

    def __init__(self, schedule: Schedule | dict[str, Any], *, task: str):
        self.schedule = schedule if isinstance(schedule, Schedule) else build_schedule(schedule)
        self.task = task

    def plan(self, epoch: int, epochs: float, *, sizes: Any, passes: Any, draw: Any) -> Plan:
        if self.task not in passes:
            raise ValueError(unknown("task", self.task, passes))
        steps = self.schedule.plan(epoch, epochs, sizes=sizes, passes=passes, draw=draw)
        return steps + [(self.task,)] * passes[self.task]


SCHEDULES: dict[str, type[Schedule]] = {
    schedule.__name__: schedule
    for schedule in (Annealed, Cycle, EndWith, Proportional, RoundRobin, Sequential, SquareRoot, Temperature, Uniform)
}


def build_schedule(spec: dict[str, Any]) -> Schedule:
    """The schedule that a description such as `{"class": "Annealed", "end": 0.2}` names."""
    return construct("schedule", SCHEDULES, spec)


def powers(sizes: Mapping[str, int], power: float) -> list[float]:
    raised = np.array(list(sizes.values()), dtype=np.float64) ** power
    return (raised / raised.sum()).tolist()


def checked_steps(steps: int | None) -> int | None:
    if steps is not None and steps < 1:
        raise ValueError(f"steps_per_epoch must be one or more. Got {steps}.")
    return steps
