"""Rows as token ids: encoded once into Arrow, read without copies."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from ..models.configuration_multitask import MultitaskConfig
from ..models.encoding import Encoded, encode, flatten
from .cache import cache_file
from .canonical import misfit
from .sampler import Share

__all__ = ["Collator", "EncodedTask", "StepDataset", "TaskRows", "encode_block", "encode_task", "split_by_task"]

IDS = datasets.List(datasets.Value("int32"))


def encode_task(
    rows: datasets.Dataset, task: str, config: MultitaskConfig, tokenizer: PreTrainedTokenizerBase
) -> datasets.Dataset:
    """Token ids of one task's rows: columns `ids_0` and, for pairs encoded apart, `ids_1`; likewise `segments_0`.

    Those of many rows are kept in datasets' cache, and read from there if nothing that decides them has changed.
    """
    encoded, features = encoding(rows, task, config, tokenizer)
    kept = cache_file(rows, task, config, tokenizer)
    return rows.with_format(None).map(
        encoded,
        batched=True,
        remove_columns=rows.column_names,
        features=features,
        cache_file_name=kept and str(kept),
        new_fingerprint=kept and kept.stem,
        desc=f"Encoding {task}",
    )


def encode_block(
    rows: datasets.Dataset, task: str, config: MultitaskConfig, tokenizer: PreTrainedTokenizerBase
) -> datasets.Dataset:
    """The same of a few rows, at once and in silence."""
    encoded, features = encoding(rows, task, config, tokenizer)
    return datasets.Dataset.from_dict(encoded(rows.with_format(None)[:]), features=features)


def encoding(
    rows: datasets.Dataset, task: str, config: MultitaskConfig, tokenizer: PreTrainedTokenizerBase
) -> tuple[Callable[[Mapping[str, list[Any]]], dict[str, list[Any]]], datasets.Features]:
    """What makes token ids of a batch of rows, once it is known that they fit, and the types of its columns."""
    described, apart = config.known(task), config.texts(task) == 2
    if fault := misfit(task, described, rows, learnt=True):
        raise ValueError(fault)

    def encoded(batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        # Rows of single texts may have another column of that name.
        second = batch["second"] if described["pair"] else None
        sides: list[Any] = [(batch["first"], None), (second, None)] if apart else [(batch["first"], second)]
        columns: dict[str, Any] = {"label": batch["label"]}
        for side, texts in enumerate(sides):
            kept = encode(tokenizer, *texts, max_length=config.max_length)
            columns[f"ids_{side}"] = kept.input_ids
            if kept.token_type_ids is not None:
                columns[f"segments_{side}"] = kept.token_type_ids
        return columns

    names = [f"{kind}_{side}" for side in range(1 + apart) for kind in ("ids", "segments")]
    if "token_type_ids" not in tokenizer.model_input_names:
        names = [name for name in names if name.startswith("ids")]
    return encoded, datasets.Features({"label": rows.features["label"], **dict.fromkeys(names, IDS)})


class TaskRows(Protocol):
    """The rows of one task, wherever they are: how long each is, and where those of a step lie."""

    lengths: np.ndarray

    def __len__(self) -> int: ...

    def at(self, rows: np.ndarray, *, idle: bool = False) -> tuple["EncodedTask", np.ndarray]: ...


class EncodedTask:
    """The token ids of one task, as slices of one long array a column."""

    def __init__(self, rows: datasets.Dataset):
        table = rows.with_format("arrow")[:]
        labels = table.column("label").to_numpy()
        # A distribution over classes a row comes as an array of arrays.
        self.labels = np.stack(labels) if labels.dtype == object else labels
        self.columns = {name: flat(table.column(name)) for name in table.column_names if name != "label"}
        self.sides = sum(name.startswith("ids") for name in self.columns)
        sizes = [np.diff(self.columns[f"ids_{side}"][1]) for side in range(self.sides)]
        self.lengths: np.ndarray = np.sum(sizes, axis=0)

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: np.ndarray, *, idle: bool = False) -> tuple["EncodedTask", np.ndarray]:
        """Where rows lie, and their numbers there."""
        return self, rows

    def sequences(self, side: int, rows: np.ndarray) -> Encoded:
        segments = self.take(f"segments_{side}", rows) if f"segments_{side}" in self.columns else None
        return Encoded(self.take(f"ids_{side}", rows), segments)

    def take(self, column: str, rows: np.ndarray) -> list[Any]:
        values, offsets = self.columns[column]
        return [values[offsets[row] : offsets[row + 1]] for row in rows]


def flat(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """The values of a list column end to end, and where each row begins and ends among them."""
    whole = column.combine_chunks()
    return whole.values.to_numpy(), whole.offsets.to_numpy()


class StepDataset(Dataset):
    """What a list of shares stands for: the encoded rows of every task in one micro-step."""

    def __init__(self, tasks: Mapping[str, TaskRows]):
        self.tasks = dict(tasks)

    def __len__(self) -> int:
        return sum(len(task) for task in self.tasks.values())

    def __getitem__(self, share: Share) -> tuple[Share, EncodedTask]:
        task, rows = self.tasks[share.task].at(share.rows, idle=share.idle)
        return share._replace(rows=rows), task

    def __getitems__(self, shares: Sequence[Share]) -> list[tuple[Share, EncodedTask]]:
        return [self[share] for share in shares]


class Collator:
    """Every sentence of every task of a step in one flat list of sequences, as `MultitaskModel.forward` reads it.

    `idle` names the tasks whose rows are there but not the step's.
    """

    def __call__(self, shares: Sequence[tuple[Share, EncodedTask]]) -> dict[str, Any]:
        parts: list[Encoded] = []
        batch: dict[str, Any] = {"rows": {}, "labels": {}, "weights": {}}
        if idle := [share.task for share, _ in shares if share.idle]:
            batch["idle"] = idle
        count = 0
        for share, task in shares:
            parts += [task.sequences(side, share.rows) for side in range(task.sides)]
            index = torch.arange(count, count + task.sides * len(share.rows))
            batch["rows"][share.task] = index.view(task.sides, -1).T if task.sides == 2 else index
            batch["labels"][share.task] = torch.from_numpy(task.labels[share.rows])
            batch["weights"][share.task] = torch.from_numpy(share.weights)
            count += task.sides * len(share.rows)
        return {**flatten(*parts), **batch}


def split_by_task(batch: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A batch of the `Collator` as batches of one task each, without copies: its tasks lie one after the other."""
    lengths, parts = batch["lengths"].tolist(), {}
    first = start = 0
    for name, rows in batch["rows"].items():
        last = first + rows.numel()
        end = start + sum(lengths[first:last])
        part = {key: batch[key][start:end] for key in ("input_ids", "token_type_ids") if key in batch}
        part |= {"lengths": batch["lengths"][first:last], "longest": max(lengths[first:last])}
        parts[name] = part | {
            "rows": {name: rows - first},
            "labels": {name: batch["labels"][name]},
            "weights": {name: batch["weights"][name]},
        }
        first, start = last, end
    return parts
