"""Where plain sentences come from: a text file, the tasks' own training rows, a dataset on the Hub."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Dataset

from ..data.rows import Place, Unreadable
from ..data.sources import Hub
from ..data.tables import decoded
from ..models.construct import construct, unknown

__all__ = ["TEXTS", "HubTexts", "TaskTexts", "TextFile", "Texts", "build_texts", "side_texts"]

Train = Mapping[str, Dataset]
"""The training rows of the tasks, by name."""


@dataclass(frozen=True, kw_only=True)
class Texts(ABC):
    """A source of sentences. `limit` is how many are read at most, drawn by the seed."""

    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be 1 or more, or null. Got {self.limit}.")

    def sentences(self, train: Train, *, seed: int = 0) -> list[str]:
        """The different sentences, in their order and without blanks around them."""
        found = list(dict.fromkeys(text for line in self.read(train) if (text := line.strip())))
        if len(found) < 2:
            raise Unreadable(self.place, f"there are {len(found)} sentences, and a batch needs two or more")
        if self.limit is None or self.limit >= len(found):
            return found
        drawn = np.random.default_rng(seed).choice(len(found), size=self.limit, replace=False)
        return [found[row] for row in np.sort(drawn)]

    def tasks(self, names: Sequence[str]) -> list[str]:
        """Which of the recipe's tasks must have been read before."""
        return []

    @property
    @abstractmethod
    def place(self) -> Place: ...

    @abstractmethod
    def read(self, train: Train) -> Iterable[str]: ...


@dataclass(frozen=True)
class TextFile(Texts):
    """A file of UTF-8 text, one sentence a line; blank lines do not count."""

    text_file: str | Path

    @property
    def place(self) -> Place:
        return Place(str(self.text_file))

    def read(self, train: Train) -> Iterator[str]:
        return decoded(Path(self.text_file))


@dataclass(frozen=True)
class TaskTexts(Texts):
    """The training sentences of some tasks, both sides of pairs; null: of all."""

    names: list[str] | None = None

    @property
    def place(self) -> Place:
        return Place("The tasks' training rows")

    def tasks(self, names: Sequence[str]) -> list[str]:
        if wrong := [unknown("task", name, names) for name in self.names or () if name not in names]:
            raise ValueError(" ".join(wrong))
        return list(self.names or names)

    def read(self, train: Train) -> Iterator[str]:
        for name in self.tasks(list(train)):
            yield from side_texts(train[name])


@dataclass(frozen=True)
class HubTexts(Texts):
    """One column of a dataset on the Hub, or of a local folder of the same shape."""

    repo: str
    column: str = "text"
    config: str | None = None
    split: str = "train"
    revision: str | None = None

    @property
    def place(self) -> Place:
        return Place(" ".join(filter(None, (self.repo, self.config, self.split))), unit="row")

    def read(self, train: Train) -> Iterator[str]:
        try:
            dataset = datasets.load_dataset(self.repo, self.config, split=self.split, revision=self.revision)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise Unreadable(self.place, Hub(self.repo).excuse(error)) from error
        if self.column not in dataset.column_names:
            raise Unreadable(self.place, unknown("column", self.column, dataset.column_names).rstrip("."))
        for batch in dataset.select_columns([self.column]).with_format("arrow").iter(10_000):
            yield from (text for text in batch[self.column].to_pylist() if isinstance(text, str))


TEXTS: dict[str, Any] = {source.__name__: source for source in (HubTexts, TaskTexts, TextFile)}


def build_texts(spec: dict[str, Any]) -> Texts:
    """The source that a description such as `{"class": "TextFile", "text_file": "wiki.txt"}` names."""
    return construct("text", TEXTS, spec)


def side_texts(rows: Dataset) -> Iterator[str]:
    """Every text of a task's rows."""
    for side in ("first", "second"):
        if side in rows.column_names:
            yield from rows[side][:]
