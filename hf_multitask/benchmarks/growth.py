"""How time and memory grow with what a step is made of, each a small picture."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ..data.encoded import Collator, EncodedTask
from ..data.sampler import Share
from ..models.configuration_minbert import MinBertConfig
from ..models.configuration_multitask import MultitaskConfig
from ..models.modeling_ensemble import EnsembleModel
from ..models.modeling_multitask import MultitaskModel
from ..plots import can_plot
from .prediction import in_precision, member
from .processes import shared_steps
from .texts import text_rows
from .turns import Contender, Line
from .workload import TASKS, Workload

__all__ = ["contenders", "draw"]

TOKENS = 32
LENGTHS = (16, 32, 64, 128, 256)
BATCHES = (4, 8, 16, 32, 64)
NUMBERS = (1, 2, 4, 8)
PROCESSES = (1, 2)
INCHES = (4, 3)


def contenders(workload: Workload) -> list[Contender]:
    """Training steps on ever longer sequences, larger batches and more tasks, all sequences of a step equally long;
    predictions by more members; the same step divided over processes. Each is compared with the smallest of its kind.
    """
    found = list(numbered(workload))
    first = {kind_of(each.name): each.name for each in reversed(found)}
    return [replace(each, against=first[kind_of(each.name)]) for each in found]


def kind_of(name: str) -> str:
    return name.rpartition(" ")[0]


def numbered(workload: Workload) -> Iterator[Contender]:
    few = max(1, workload.rows // 4)
    for length in LENGTHS:
        yield Contender(f"length {length}", uniform(workload, rows=few, length=length))
    for rows in BATCHES:
        yield Contender(f"batch {rows}", uniform(workload, rows=rows, length=TOKENS))
    for tasks in NUMBERS:
        yield Contender(f"tasks {tasks}", uniform(workload, rows=max(8, workload.rows), length=TOKENS, tasks=tasks))
    pairs = text_rows(workload, "qqp", workload.rows)
    models = [member(workload) for _ in range(max(NUMBERS))]
    for count in NUMBERS:
        yield Contender(f"members {count}", predicting(workload, EnsembleModel.from_members(models[:count]), pairs))
    for processes in PROCESSES:
        step, peak = shared_steps(workload, processes)
        yield Contender(f"processes {processes}", step, notes={"RSS MB a process": f"{peak / 1e6:.0f}"})


def uniform(workload: Workload, *, rows: int, length: int, tasks: int = 1) -> Any:
    """A training step on `rows` sequences in all, shared evenly by so many tasks like sst."""
    names = [f"sst_{number}" for number in range(tasks)]
    described = dict.fromkeys(names, TASKS["sst"].describe())
    trunk = MinBertConfig(**workload.shape)
    model = workload.placed(MultitaskModel(MultitaskConfig(trunk=trunk, tasks=described)))
    draw, each = np.random.default_rng(workload.seed), rows // tasks
    weights = np.full(each, 1 / each, np.float32)
    shares = []
    for name in names:
        ids = draw.integers(1000, workload.vocabulary, (each, length)).astype(np.int32)
        encoded = EncodedTask(Dataset.from_dict({"ids_0": list(ids), "label": [0] * each}))
        shares.append((Share(name, np.arange(each), weights), encoded))
    return workload.training(model, batches=[workload.moved(Collator()(shares))])


def predicting(workload: Workload, ensemble: EnsembleModel, pairs: Dataset) -> Any:
    first, second = pairs["first"][:], pairs["second"][:]
    return in_precision(workload, lambda i: ensemble.predict("qqp", first, second))


def draw(lines: Sequence[Line], folder: Path) -> list[Path]:
    """A picture for each kind: milliseconds, and where it was seen the most memory beside what is held."""
    if not can_plot():
        return []
    from matplotlib.figure import Figure

    kinds: dict[str, list[Line]] = {}
    for line in lines:
        kinds.setdefault(kind_of(line.name), []).append(line)
    pictures = []
    for kind, found in kinds.items():
        figure = Figure(figsize=INCHES, layout="constrained")
        panel = figure.subplots()
        places = [int(line.name.rpartition(" ")[2]) for line in found]
        panel.plot(places, [line.milliseconds for line in found], marker="o", color="C0")
        panel.set(xlabel=kind, ylim=(0, None), xticks=places)
        panel.set_ylabel("ms", color="C0")
        if any(line.peak for line in found):
            beside = panel.twinx()
            beside.plot(places, [(line.held + line.peak) / 1e6 for line in found], marker="s", color="C1")
            beside.set(ylim=(0, None))
            beside.set_ylabel("MB", color="C1")
        pictures.append(folder / f"growth_{kind}.png")
        figure.savefig(pictures[-1], dpi=120)
    return pictures
