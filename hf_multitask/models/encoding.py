"""From texts to one flat list of sequences, the same way in training and in prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

__all__ = ["Encoded", "encode", "flatten"]


@dataclass(frozen=True)
class Encoded:
    """Token ids, and segment ids where the tokenizer gives them, one sequence a row."""

    input_ids: Sequence[Sequence[int]]
    token_type_ids: Sequence[Sequence[int]] | None = None

    def take(self, rows: Sequence[int]) -> "Encoded":
        segments = self.token_type_ids
        return Encoded([self.input_ids[i] for i in rows], segments and [segments[i] for i in rows])


def encode(
    tokenizer: PreTrainedTokenizerBase, first: Sequence[str], second: Sequence[str] | None = None, *, max_length: int
) -> Encoded:
    """Tokenize texts, or pairs of texts into one sequence each, cut at `max_length` tokens from the longer one."""
    if not first:
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
