"""Rows that are read as they come, for corpora that do not fit in memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Protocol

import datasets
import numpy as np

from ..models.modeling_multitask import MultitaskModel
from ..tasks import Task
from .encoded import EncodedTask, TaskRows, encode_block, encode_task
from .rows import Source, checked
from .sampler import WINDOW, bucket

__all__ = ["RowStream", "Stream", "StreamedTask", "encode_all"]


class Stream(Protocol):
    """Rows with the columns first, second (pairs) and label, in an order that is the same each time."""

    def blocks(self, size: int, *, skip: int) -> Iterator[datasets.Dataset]:
        """So many rows at a time, after the first `skip`; the last block may be short."""


@dataclass(frozen=True)
class RowStream:
    """The checked rows of one split of a source."""

    task: Task
    split: str
    source: Source
    on_bad_row: str = "error"

    def blocks(self, size: int, *, skip: int) -> Iterator[datasets.Dataset]:
        rows = iter(self.source.rows(self.task, self.split))
        kept: list[datasets.Dataset] = []
        while part := list(islice(rows, size)):
            block = checked(self.task, self.split, part, on_bad_row=self.on_bad_row)
            # Rows that are dropped count neither as read nor as skipped.
            passed = min(skip, len(block))
            skip -= passed
            if passed < len(block):
                kept.append(block.skip(passed))
            if sum(map(len, kept)) >= size:
                whole = datasets.concatenate_datasets(kept)
                kept = [whole.skip(size)] if len(whole) > size else []
                yield whole.take(size)
        if kept:
            yield datasets.concatenate_datasets(kept)


@dataclass(frozen=True)
class Iterated:
    """An `IterableDataset` of canonical rows."""

    rows: datasets.IterableDataset

    def blocks(self, size: int, *, skip: int) -> Iterator[datasets.Dataset]:
        features = self.rows.features
        for batch in self.rows.skip(skip).iter(size):
            yield datasets.Dataset.from_dict(batch, features=features)


class StreamedTask:
    """A task whose rows come from a stream, in the place of an `EncodedTask`.

    One pass reads `rows` rows of the stream. They are encoded a block at a time, `window` steps' worth, and within a
    block made into batches of near lengths in an order that the seed draws; only that block lies in memory. Rows are
    asked for by their number since the beginning of training, from the first on: whoever begins later reads over all
    before.
    """

    def __init__(
        self,
        stream: Stream,
        encode: Callable[[datasets.Dataset], datasets.Dataset],
        *,
        rows: int,
        step_rows: int,
        seed: int,
        window: int = WINDOW,
    ):
        self.stream, self.encode, self.rows, self.step_rows, self.seed = stream, encode, rows, step_rows, seed
        self.window, self.size = window, window * step_rows
        # All rows count as equally long: how long they are is not known before they come.
        self.lengths = np.broadcast_to(np.int64(1), rows)
        self.place: tuple[int, int] | None = None
        self.coming: Iterator[datasets.Dataset] = iter(())

    def __len__(self) -> int:
        return self.rows

    def at(self, rows: np.ndarray, *, idle: bool = False) -> tuple[EncodedTask, np.ndarray]:
        """Where rows of one step lie: a block, and their numbers in it; any row that is there, for an idle task."""
        number, first = divmod(int(rows[0]), self.rows)
        if not idle or self.place is None:
            self.turn_to(number, first // self.size)
        if idle:
            return self.block, self.order[:1]
        return self.block, self.order[(rows % self.rows) % self.size]

    def turn_to(self, number: int, place: int) -> None:
        """Read on to a block of a pass, from the beginning of the stream where it lies behind or far ahead."""
        if self.place == (number, place):
            return
        if self.place != (number, place - 1):
            self.coming = self.stream.blocks(self.size, skip=place * self.size)
        wanted = min(self.size, self.rows - place * self.size)
        block = next(self.coming, None)
        if block is None or len(block) < wanted:
            came = place * self.size + (0 if block is None else len(block))
            raise ValueError(
                f"The stream ended after {came:,} rows, and a pass was said to have {self.rows:,}. "
                f"Say {came:,} or fewer."
            )
        self.block, self.place = EncodedTask(self.encode(block.take(wanted))), (number, place)
        draw = np.random.default_rng([self.seed, number, place])
        near = bucket(draw.permutation(wanted), self.block.lengths, self.step_rows, window=self.window, shuffle=draw)
        self.order = np.concatenate(near)


def encode_all(
    rows: Mapping[str, datasets.Dataset | datasets.IterableDataset | Stream],
    model: MultitaskModel,
    *,
    counts: Mapping[str, int],
    step_rows: int,
    seed: int,
) -> dict[str, TaskRows]:
    """The training rows of each task as token ids: all at once, or as they come, of streams, `counts` a pass."""
    if empty := [name for name, given in rows.items() if isinstance(given, datasets.Dataset) and not len(given)]:
        raise ValueError(f"Every task needs training rows. None for: {', '.join(empty)}.")
    if whole := [name for name in counts if isinstance(rows.get(name), datasets.Dataset)]:
        raise ValueError(f"stream_rows counts the rows of a stream, and those of '{whole[0]}' are none. Leave it out.")
    found: dict[str, TaskRows] = {}
    for name, given in rows.items():
        if isinstance(given, datasets.Dataset):
            found[name] = EncodedTask(encode_task(given, name, model.config, model.tokenizer))
            continue
        if counts.get(name, 0) < 1:
            raise ValueError(f"The rows of '{name}' are a stream. Say in stream_rows how many make a pass.")
        encode = partial(encode_block, task=name, config=model.config, tokenizer=model.tokenizer)
        stream = Iterated(given) if isinstance(given, datasets.IterableDataset) else given
        found[name] = StreamedTask(stream, encode, rows=counts[name], step_rows=step_rows, seed=seed)
    return found
