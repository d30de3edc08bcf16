"""Which rows make a batch: a function of the seed and the epoch alone, so that a resumed run reads on where it was."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from sentence_transformers.base.sampler import DefaultBatchSampler

__all__ = ["Shuffled", "TwoOfEachClass"]


class Shuffled(DefaultBatchSampler):
    """Every row once an epoch, in whole batches; the few that fill none wait for another epoch's order.

    A batch's rows are each other's negatives, so a smaller last batch would be another loss.

    >>> [sorted(batch) for batch in Shuffled(2, 2, seed=0)]
    [[0, 1]]
    """

    def __init__(self, rows: int, batch_size: int, *, seed: int):
        if batch_size < 2:
            raise ValueError(
                f"A sentence is told from the others of its batch, so a batch holds 2 or more. Got {batch_size}."
            )
        if rows < batch_size:
            raise ValueError(
                f"One batch needs {batch_size} different rows. Got {rows} in all. "
                "Give more text, or lower training.per_device_train_batch_size."
            )
        super().__init__(range(rows), batch_size, drop_last=True, seed=seed)
        self.rows = rows

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.rows)
        return iter(order[: len(self) * self.batch_size].reshape(-1, self.batch_size).tolist())

    def __len__(self) -> int:
        return self.rows // self.batch_size


class TwoOfEachClass(DefaultBatchSampler):
    """Groups of two rows of each class, as many whole groups as fit a batch.

    The rows 2k and 2k + 1 of a group are of the class k, and no row stands in a group twice. Small classes are drawn
    as often as large ones, shuffled anew when they run out; an epoch reads as many rows as there are.

    >>> batch = next(iter(TwoOfEachClass([0, 1, 0, 1], 4, seed=0)))
    >>> sorted(batch[:2]), sorted(batch[2:])
    ([0, 2], [1, 3])
    """

    def __init__(self, labels: Sequence[int], batch_size: int, *, seed: int):
        counts = Counter(labels)
        self.classes = len(counts)
        self.groups = batch_size // max(1, 2 * self.classes)
        self.rows = len(labels)
        faults = []
        if self.classes < 2:
            faults.append(f"Ranking by class needs two classes or more. Got {self.classes} in {self.rows} rows.")
        if alone := sorted(label for label, count in counts.items() if count < 2):
            shown = ", ".join(map(str, alone[:5])) + (" and others" if len(alone) > 5 else "")
            faults.append(f"A group holds two different sentences of each class. The data have one alone of {shown}.")
        if self.classes > 1 and not self.groups:
            faults.append(
                f"A group holds two sentences of each of the {self.classes} classes, {2 * self.classes} in all, and "
                f"training.per_device_train_batch_size is {batch_size}. Raise it to {2 * self.classes} or more."
            )
        if faults:
            raise ValueError(" ".join(faults))
        # What does not make a group is left out of the batch, and the batch's size says so to those who count on it.
        super().__init__(range(self.rows), 2 * self.classes * self.groups, drop_last=True, seed=seed)
        given = np.asarray(labels)
        self.members = [np.flatnonzero(given == label) for label in sorted(counts)]

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self.seed, self.epoch))
        draws = [pairs(rows, random) for rows in self.members]
        for _ in range(len(self)):
            yield [row for _ in range(self.groups) for draw in draws for row in next(draw)]

    def __len__(self) -> int:
        return max(1, self.rows // self.batch_size)


def pairs(rows: np.ndarray, random: np.random.Generator) -> Iterator[list[int]]:
    """Two different rows after two others, without end; both of one shuffle, so that they never are the same."""
    while True:
        yield from random.permutation(rows)[: len(rows) // 2 * 2].reshape(-1, 2).tolist()
