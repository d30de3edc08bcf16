"""From texts to one flat list of sequences, the same way in training and in prediction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

__all__ = ["Encoded", "Reading", "Texts", "check_texts", "encode", "flatten"]


@dataclass(frozen=True)
class Encoded:
    """Token ids, and segment ids where the tokenizer gives them, one sequence a row."""

    input_ids: Sequence[Sequence[int]]
    token_type_ids: Sequence[Sequence[int]] | None = None

    def take(self, rows: Sequence[int]) -> "Encoded":
        segments = self.token_type_ids
        return Encoded([self.input_ids[i] for i in rows], segments and [segments[i] for i in rows])


@dataclass(frozen=True)
class Reading:
    """Texts as one model reads them: one sequence a row, or one of each side where pairs are encoded apart."""

    sides: tuple[Encoded, ...]

    def batches(
        self, batch_size: int, device: torch.device | str = "cpu"
    ) -> Iterator[tuple[torch.Tensor, dict[str, Any]]]:
        """Row numbers and the batch that holds them, the longest first, so that near lengths run together."""
        sizes = torch.tensor([[len(ids) for ids in side.input_ids] for side in self.sides])
        order = sizes.sum(0).argsort(descending=True, stable=True)
        for chosen in order.split(batch_size) if len(order) else ():
            batch = flatten(*(side.take(chosen.tolist()) for side in self.sides))
            rows = torch.arange(len(batch["lengths"])).view(len(self.sides), -1).T.squeeze(-1)
            whole = {**batch, "rows": rows}
            yield chosen, {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in whole.items()}


class Texts:
    """The texts of n rows, tokenized once for all models that read them alike.

    >>> len(Texts(["A fine film.", "A dull one."]))
    2
    """

    def __init__(self, first: Sequence[str], second: Sequence[str] | None = None):
        self.first, self.second = first, second
        self.readings: dict[tuple[PreTrainedTokenizerBase, bool, int], Reading] = {}

    def __len__(self) -> int:
        return len(self.first)

    def read(self, tokenizer: PreTrainedTokenizerBase, *, apart: bool, max_length: int) -> Reading:
        """What a model reads; `apart`: the two texts of a pair as a sequence each."""
        way = (tokenizer, apart, max_length)
        if way not in self.readings:
            sides = (
                [(self.first, None), (self.second if self.second is not None else (), None)]
                if apart
                else [(self.first, self.second)]
            )
            self.readings[way] = Reading(tuple(encode(tokenizer, *side, max_length=max_length) for side in sides))
        return self.readings[way]


def check_texts(task: str, first: Sequence[str], second: Sequence[str] | None, *, pair: bool) -> None:
    """Raise where the texts do not suit the task."""
    if pair != (second is not None):
        want, got = ("two texts", "one") if pair else ("one text", "two")
        raise ValueError(f"Task '{task}' reads {want} a row. Got {got}.")
    if isinstance(first, str) or isinstance(second, str):
        raise ValueError("predict takes lists of texts, such as predict('sst', ['A fine film.']). Got one string.")
    if second is not None and len(first) != len(second):
        raise ValueError(f"Both sides of a pair must be equally many. Got {len(first)} and {len(second)} texts.")
    for side in (first, second if second is not None else ()):
        for number, text in enumerate(side):
            if not isinstance(text, str):
                raise ValueError(f"Task '{task}' reads texts, and row {number} has none: {text!r}.")


def encode(
    tokenizer: PreTrainedTokenizerBase, first: Sequence[str], second: Sequence[str] | None = None, *, max_length: int
) -> Encoded:
    """Tokenize texts, or pairs of texts into one sequence each, cut at `max_length` tokens from the longer one."""
    # As long as it has a length: a column of pandas or numpy is neither true nor false.
    if not len(first):
        return Encoded([])
    kept = tokenizer(
        list(first),
        None if second is None else list(second),
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
    )
    return Encoded(kept["input_ids"], kept.get("token_type_ids"))


def flatten(*parts: Encoded) -> dict[str, Any]:
    """Sequences end to end: what the trunk reads in one pass.

    >>> flatten(Encoded([[1, 2], [3]]))["lengths"]
    tensor([2, 1])
    """
    rows = [ids for part in parts for ids in part.input_ids]
    lengths = [len(row) for row in rows]
    batch: dict[str, Any] = {
        "input_ids": joined(rows),
        "lengths": torch.tensor(lengths),
        "longest": max(lengths),
    }
    if parts[0].token_type_ids is not None:
        batch["token_type_ids"] = joined([ids for part in parts for ids in part.token_type_ids or ()])
    return batch


def joined(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([np.asarray(row, dtype=np.int64) for row in rows]))
