"""Which rows the next step trains: the host of the schedules."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ..schedules import Plan, Schedule

__all__ = ["WINDOW", "MultitaskSampler", "Share", "bucket"]

WINDOW = 16
"""How many batches' worth of rows are looked at together for rows of near lengths."""


class Share(NamedTuple):
    """Rows of one task that one process reads in one micro-step, and the weight of each row's loss.

    An idle task is none of the step's: a row of it is there so that every process runs every task.
    """

    task: str
    rows: np.ndarray
    weights: np.ndarray
    idle: bool = False


class MultitaskSampler:
    """The shares of every micro-step, for all processes in turn.

    The schedule plans optimizer steps, and a step reads `batch_size * world * accumulation` rows of each of its
    tasks. These are dealt out to processes and micro-steps, so that training is the same however that product
    is made. Weights are such that the mean over processes and micro-steps of the weighted sums is the mean over
    the step's rows, uneven shares included; a share that would be empty repeats a row with weight zero.

    A task's rows come in passes: each is shuffled anew, and its last batch may be short. Batches are made of rows
    of near lengths, among the rows that the epoch would have seen anyway.

    The rows of tasks that are `streamed` come in their own order, numbered on from pass to pass.

    With `fill`, every list of shares also has one row, of weight zero, of each task that its step leaves idle.

    Accelerate gives process r every r-th list of shares. It must find no `batch_size` here, or it would merge
    or drop lists.
    """

    def __init__(
        self,
        lengths: Mapping[str, np.ndarray],
        schedule: Schedule,
        *,
        batch_size: int,
        world: int = 1,
        accumulation: int = 1,
        seed: int = 0,
        epochs: float = 1,
        window: int = WINDOW,
        fill: bool = False,
        streamed: Collection[str] = (),
    ):
        if empty := [name for name, rows in lengths.items() if len(rows) == 0]:
            raise ValueError(f"Every task needs training rows. None for: {', '.join(empty)}.")
        self.lengths = dict(lengths)
        self.schedule = schedule
        self.shares = world * accumulation
        self.step_rows = batch_size * self.shares
        self.seed, self.epochs, self.window, self.fill = seed, epochs, window, fill
        self.streamed = set(streamed)
        self.sizes = {name: len(rows) for name, rows in lengths.items()}
        self.passes = {name: -(-size // self.step_rows) for name, size in self.sizes.items()}
        self.epoch = 0
        self.steps = len(self.plan(0))
        # The last step of all epochs together, where there is one: a run that is resumed after it has no more to read.
        self.last: int | None = None

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def end(self, *, epochs: float, max_steps: int) -> int:
        """Settle and say the last step of a training of so many epochs, or, where they are above zero, steps."""
        whole = max_steps / self.steps if max_steps > 0 else epochs
        self.epochs = math.ceil(whole) if whole > 1 else whole
        self.last = max_steps if max_steps > 0 else math.ceil(epochs * self.steps)
        return self.last

    def __len__(self) -> int:
        return self.steps * self.shares

    def __iter__(self) -> Iterator[list[Share]]:
        plan = self.due(self.epoch)
        batches = {name: iter(self.batches(name)) for name in Counter(name for step in plan for name in step)}
        for step in plan:
            dealt = [self.deal(name, next(batches[name])) for name in step]
            idle = [self.idle(name) for name in self.sizes if self.fill and name not in step]
            yield from ([*shares, *idle] for shares in zip(*dealt, strict=True))

    def plan(self, epoch: int) -> Plan:
        """The tasks of each optimizer step of an epoch."""
        draw = np.random.default_rng([self.seed, 0, epoch])
        return self.schedule.plan(epoch, self.epochs, sizes=self.sizes, passes=self.passes, draw=draw)

    def due(self, epoch: int) -> Plan:
        """The same of those steps that come before the end."""
        plan = self.plan(epoch)
        return plan if self.last is None else plan[: max(self.last - epoch * self.steps, 0)]

    def rows_in_epoch(self) -> int:
        """How many rows the current epoch reads."""
        return sum(len(batch) for name in self.sizes for batch in self.batches(name))

    def batches(self, name: str) -> Iterable[np.ndarray]:
        """The rows of a task in each of its steps of the current epoch."""
        start = sum(name in step for epoch in range(self.epoch) for step in self.plan(epoch))
        left = sum(name in step for step in self.plan(self.epoch))
        if name in self.streamed:
            return (self.coming(name, step) for step in range(start, start + left))
        batches: list[np.ndarray] = []
        while left:
            number, first = divmod(start, self.passes[name])
            taken = min(left, self.passes[name] - first)
            shuffle = np.random.default_rng([self.seed, 1 + list(self.sizes).index(name), number, first])
            order = np.random.default_rng([self.seed, 1 + list(self.sizes).index(name), number])
            rows = order.permutation(self.sizes[name])[first * self.step_rows : (first + taken) * self.step_rows]
            batches += bucket(rows, self.lengths[name], self.step_rows, window=self.window, shuffle=shuffle)
            start, left = start + taken, left - taken
        return batches

    def coming(self, name: str, step: int) -> np.ndarray:
        """The rows of a streamed task in one of all its steps, numbered since the beginning of training."""
        number, place = divmod(step, self.passes[name])
        size = self.sizes[name]
        last = min((place + 1) * self.step_rows, size)
        return np.arange(number * size + place * self.step_rows, number * size + last)

    def idle(self, name: str) -> Share:
        """A row of a task that a step does not train."""
        return Share(name, np.zeros(1, int), np.zeros(1, np.float32), idle=True)

    def deal(self, name: str, rows: np.ndarray) -> list[Share]:
        """A step's rows of a task, dealt out to all processes and micro-steps."""
        weight = self.shares / len(rows)
        shares = [rows[share :: self.shares] for share in range(self.shares)]
        return [
            Share(name, share, np.full(len(share), weight, np.float32))
            if len(share)
            else Share(name, rows[:1], np.zeros(1, np.float32))
            for share in shares
        ]


def bucket(
    rows: np.ndarray, lengths: np.ndarray, size: int, *, window: int, shuffle: np.random.Generator
) -> list[np.ndarray]:
    """Batches of near lengths: each `window` batches' worth of rows is sorted, cut, and the batches are shuffled.

    A short last batch keeps the rows that chance gave it: cut from the sorted rows, it would hold the longest. A
    window is a quarter of the rows at most: over all of them, the batches would be the same in every pass.
    """
    whole = len(rows) - len(rows) % size
    window = max(1, min(window, whole // size // 4))
    parts = [rows[i : min(i + window * size, whole)] for i in range(0, whole, window * size)]
    parts += [rows[whole:]] if whole < len(rows) else []
    batches = []
    for part in parts:
        near = part[np.argsort(lengths[part], kind="stable")]
        batches += [near[i : i + size] for i in range(0, len(near), size)]
    return [batches[i] for i in shuffle.permutation(len(batches))]
