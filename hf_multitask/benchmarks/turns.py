"""Contenders measured in turns, so that whatever else the machine does weighs on all of them alike."""

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Contender", "Line", "in_turns"]


@dataclass
class Contender:
    """Something to be timed: `step(i)` does its i-th piece of work.

    `against` names the contender that it is compared with, the first by default, and `goal` what the ratio should not
    exceed. `notes` are further columns.
    """

    name: str
    step: Callable[[int], object]
    against: str | None = None
    goal: float | None = None
    notes: dict[str, object] = field(default_factory=dict)


@dataclass
class Line:
    """What was measured: `ratio` is the median over the rounds of this step's time over the other's, `low` and `high`
    are the quartiles of it; `arithmetic` is the ratio of multiplications, `peak` the most memory that a step takes."""

    name: str
    against: str
    ratio: float
    low: float
    high: float
    milliseconds: float
    arithmetic: float | None
    peak: float
    goal: float | None
    notes: dict[str, object]


def in_turns(contenders: Sequence[Contender], *, rounds: int, warmup: int = 2) -> list[Line]:
    """Time every contender's i-th step in the i-th round, one after the other, and compare within each round."""
    for contender in contenders:
        for i in range(warmup):
            contender.step(i)
    work = {c.name: multiplications(c) for c in contenders}
    peaks = {c.name: peak_bytes(c) for c in contenders}
    times: dict[str, list[float]] = {c.name: [] for c in contenders}
    for i in range(rounds):
        # Each goes first equally often: what comes after a pause of the processor is faster.
        shift = i % len(contenders)
        for contender in [*contenders[shift:], *contenders[:shift]]:
            times[contender.name].append(seconds(contender, i))
    lines = []
    for contender in contenders:
        other = contender.against or contenders[0].name
        ratios = np.array(times[contender.name]) / np.array(times[other])
        low, ratio, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
        lines.append(
            Line(
                contender.name,
                other,
                ratio,
                low,
                high,
                float(np.median(times[contender.name])) * 1000,
                work[contender.name] / work[other] if work[other] else None,
                peaks[contender.name],
                contender.goal,
                contender.notes,
            )
        )
    return lines


def seconds(contender: Contender, i: int) -> float:
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
    with FlopCounterMode(display=False) as counter:
        contender.step(0)
    return counter.get_total_flops()


def peak_bytes(contender: Contender) -> float:
    """The most memory that tensors made in the first step hold at once, beyond what is held before."""
    if torch.accelerator.is_available():
        module = torch.get_device_module(torch.accelerator.current_accelerator())
        module.reset_peak_memory_stats()
        before = module.memory_allocated()
        contender.step(0)
        return module.max_memory_allocated() - before
    with silence(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        contender.step(0)
    events = recorded.profiler.kineto_results.events()
    changes = [event.nbytes() for event in events if event.name() == "[memory]"]
    return float(max(np.cumsum(changes), default=0))


@contextmanager
def silence() -> Iterator[None]:
    """Keep what the profiler's own library says off the screen."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
