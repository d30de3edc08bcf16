"""Contenders measured in turns, so that whatever else the machine does weighs on all of them alike."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from .memory import held_bytes, peak_bytes

__all__ = ["Contender", "Line", "in_turns", "synchronize"]

LEAST = 3
"""Rounds that are measured however long they take."""


def nothing() -> None:
    pass


@dataclass
class Contender:
    """Something to be timed: `step(i)` does its i-th piece of work, of so many `rows`.

    `before` and `after` it go unpaid: they make what a step finds there, and let it go, so that all contenders fit.
    What `settles` does its step once unpaid: in a training steps follow each other, and a first one after another
    contender's must ask the system again for memory that this one gave back.
    `against` names the contender that it is compared with, the first by default, `goal` what the ratio should not
    exceed, and `at_least` what it should not fall below. `notes` are further columns.
    """

    name: str
    step: Callable[[int], object]
    against: str | None = None
    goal: float | None = None
    at_least: float | None = None
    rows: int = 0
    notes: dict[str, object] = field(default_factory=dict)
    settles: bool = True
    before: Callable[[], object] = nothing
    after: Callable[[], object] = nothing

    @contextmanager
    def ready(self) -> Iterator[None]:
        self.before()
        try:
            yield
        finally:
            self.after()


@dataclass
class Line:
    """What was measured: `ratio` is the median over the rounds of this step's time over the other's, `low` and `high`
    are the quartiles of it; `arithmetic` is the ratio of multiplications, `peak` the most memory that a step takes
    beyond what is `held` between steps."""

    name: str
    against: str
    ratio: float
    low: float
    high: float
    milliseconds: float
    arithmetic: float | None
    peak: float
    held: float = 0.0
    goal: float | None = None
    at_least: float | None = None
    rows_per_second: float | None = None
    rounds: int = 0
    notes: dict[str, object] = field(default_factory=dict)


def in_turns(contenders: Sequence[Contender], *, rounds: int, budget: float = float("inf")) -> list[Line]:
    """Time every contender's i-th step in the i-th round, one after the other, and compare within each round.

    There are so many `rounds`, or as many as begin within a `budget` of seconds, though no fewer than `LEAST`.
    """
    # Two steps untimed, which also warm up.
    work = {c.name: multiplications(c) for c in contenders}
    memory = {c.name: held_and_peak(c) for c in contenders}
    # What lies there for good is not looked through again: trainers collect garbage whenever they begin.
    gc.collect()
    gc.freeze()
    try:
        times = timed(contenders, rounds=rounds, budget=budget)
    finally:
        gc.unfreeze()
    return [line_of(c, c.against or contenders[0].name, times, work, *memory[c.name]) for c in contenders]


def timed(contenders: Sequence[Contender], *, rounds: int, budget: float) -> dict[str, list[float]]:
    """The seconds that each took in each round."""
    times: dict[str, list[float]] = {c.name: [] for c in contenders}
    start = time.perf_counter()
    for i in range(rounds):
        if i >= LEAST and time.perf_counter() - start > budget:
            break
        # Each goes first equally often: what comes after a pause of the processor is faster.
        shift = i % len(contenders)
        for contender in [*contenders[shift:], *contenders[:shift]]:
            times[contender.name].append(seconds(contender, i))
    return times


def line_of(
    contender: Contender, other: str, times: dict[str, list[float]], work: dict[str, int], held: float, peak: float
) -> Line:
    mine = times[contender.name]
    low, ratio, high = np.quantile(np.array(mine) / np.array(times[other]), [0.25, 0.5, 0.75]).tolist()
    middle = float(np.median(mine))
    return Line(
        contender.name,
        other,
        ratio,
        low,
        high,
        middle * 1000,
        work[contender.name] / work[other] if work[other] else None,
        peak,
        held,
        contender.goal,
        contender.at_least,
        contender.rows / middle if contender.rows else None,
        len(mine),
        contender.notes,
    )


def seconds(contender: Contender, i: int) -> float:
    with contender.ready():
        if contender.settles:
            contender.step(i)
        gc.collect()
        synchronize()
        start = time.perf_counter()
        contender.step(i)
        synchronize()
        return time.perf_counter() - start


def synchronize() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def multiplications(contender: Contender) -> int:
    """What the first step's matrix products cost, as torch counts them."""
    # Nothing is compiled meanwhile: under the mode that counts, torch would leave a model uncompiled for good.
    eager = torch.compiler.set_stance("force_eager")
    with contender.ready(), eager, FlopCounterMode(display=False) as counter:
        contender.step(0)
    return counter.get_total_flops()


def held_and_peak(contender: Contender) -> tuple[float, float]:
    with contender.ready():
        peak = peak_bytes(partial(contender.step, 0))
        return held_bytes(contender.step), peak
