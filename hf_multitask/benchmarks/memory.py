"""How much memory something takes while it runs, and how much it keeps."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

__all__ = ["held_bytes", "peak_bytes", "resident"]

ENDS = (type, ModuleType, BuiltinFunctionType, str, bytes, int, float)


def peak_bytes(work: Callable[[], object]) -> float:
    """The most memory that tensors made in `work` hold at once, beyond what is held before."""
    if torch.accelerator.is_available():
        module = torch.get_device_module(torch.accelerator.current_accelerator())
        module.reset_peak_memory_stats()
        before = module.memory_allocated()
        work()
        return module.max_memory_allocated() - before
    with silence(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    events = recorded.profiler.kineto_results.events()
    changes = [event.nbytes() for event in events if event.name() == "[memory]"]
    return float(max(np.cumsum(changes), default=0))


def held_bytes(step: Callable[..., object]) -> float:
    """The size of all tensors that a function keeps from call to call: weights, the optimizer's state, a teacher.

    >>> from functools import partial
    >>> held_bytes(partial(torch.add, torch.zeros(5)))
    20.0
    """
    seen: set[int] = set()
    sizes: dict[int, int] = {}
    waiting: list[Any] = [step]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, ENDS):
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            storage = one.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        # Of a function what it closes over, not the module that it stands in.
        found = [one.__closure__, one.__defaults__] if isinstance(one, FunctionType) else gc.get_referents(one)
        waiting += [each for each in found if each is not None]
    return float(sum(sizes.values()))


def resident(which: str) -> float:
    """Bytes of this process in memory: now (VmRSS), or at most until now (VmHWM)."""
    # Not getrusage, whose maximum a process inherits from the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{which}:"))


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
