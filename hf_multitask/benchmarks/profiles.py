"""Where a step's time goes, in one screen."""

import time
from collections import defaultdict
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from ..report import aligned
from .memory import silence
from .turns import synchronize

__all__ = ["where_time_goes"]

# The first part whose words an operation's name holds; in this order, since names hold several.
PARTS = {
    "layer norm": ("layer_norm",),
    "attention": ("scaled_dot_product", "softmax", "bmm"),
    "optimizer": ("adam",),
    "clipping": ("norm_", "linalg_vector_norm", "_foreach_", "clip"),
    "activation": ("gelu", "tanh", "relu"),
    "dropout": ("dropout", "bernoulli", "random_", "aten::ge"),
    "products forward": ("addmm", "aten::linear"),
    "products backward": ("aten::mm", "aten::matmul", "mkldnn"),
    "padding, unpadding and lookups": ("index", "gather", "scatter", "embedding", "Spread", "Gather"),
    "casts and copies": ("copy_", "_to_copy", "aten::to", "aten::cat", "contiguous", "clone"),
    "filling": ("fill_", "zero", "empty"),
    "adding and scaling": ("aten::add", "aten::mul", "aten::div", "aten::sum", "aten::where"),
}
REST = "other operations"
ON_DEVICE = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []


def where_time_goes(step: Callable[[int], object], *, steps: int = 3, warmup: int = 2) -> str:
    """A table of the parts of a step, by the time that their operations take themselves.

    What no operation takes is Python's: what stands between them.
    """
    for i in range(warmup):
        step(i)
    with silence(), profile(activities=[ProfilerActivity.CPU, *ON_DEVICE]) as recorded:
        synchronize()
        start = time.perf_counter()
        for i in range(steps):
            step(i)
        synchronize()
        wall = (time.perf_counter() - start) * 1e6
    spent: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for event in recorded.key_averages():
        took = event.self_device_time_total if ON_DEVICE else event.self_cpu_time_total
        spent[part_of(event.key)] += took
        calls[part_of(event.key)] += event.count
    left = wall - sum(spent.values())
    lines = sorted(spent.items(), key=lambda part: -part[1])
    head = ["part", "share", "ms a step", "calls"]
    table = [[name, f"{us / wall:.1%}", f"{us / steps / 1e3:.1f}", f"{calls[name] / steps:.0f}"] for name, us in lines]
    rest = ["between operations", f"{left / wall:.1%}", f"{left / steps / 1e3:.1f}", ""]
    return aligned([head, *table, rest, ["whole step", "100.0%", f"{wall / steps / 1e3:.1f}", ""]])


def part_of(name: str) -> str:
    """What an operation is there for.

    >>> part_of("aten::native_layer_norm_backward")
    'layer norm'
    """
    return next((part for part, words in PARTS.items() if any(word in name for word in words)), REST)
