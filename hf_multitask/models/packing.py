"""Sequences of different lengths in one flat row of tokens, and their padded view."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Packing"]

WORTH = 8192
"""How many places of attention a cut must spare to be worth another call: two rows of 64 tokens."""


@dataclass(frozen=True)
class Packing:
    """Where the tokens of several sequences lie.

    Flat tensors are [tokens, ...], one sequence after the other; their padded view is [rows, length, ...].
    `index` [tokens] is each token's place in the flattened view, None when every place holds a token.

    >>> Packing.from_lengths(torch.tensor([1, 2]), tokens=3, length=2).pad(torch.tensor([7.0, 8.0, 9.0]))
    tensor([[7., 0.],
            [8., 9.]])
    """

    rows: int
    length: int
    lengths: Tensor
    index: Tensor | None = None

    @classmethod
    def from_lengths(cls, lengths: Tensor, *, tokens: int, length: int) -> "Packing":
        """From the sequences' lengths [rows]; their sum and maximum are given, to spare the device a wait."""
        rows = lengths.shape[0]
        if tokens == rows * length:
            return cls(rows, length, lengths)
        firsts = torch.arange(rows, device=lengths.device) * length
        return cls(rows, length, lengths, count_from(firsts, lengths, tokens=tokens))

    @classmethod
    def from_mask(cls, mask: Tensor) -> "Packing":
        """From an attention mask [rows, length], wherever its zeros stand."""
        real = mask != 0
        index = real.flatten().nonzero().squeeze(-1)
        full = index.shape[0] == mask.numel()
        return cls(mask.shape[0], mask.shape[1], real.sum(-1), None if full else index)

    @property
    def starts(self) -> Tensor:
        """The first token of each sequence [rows]."""
        return self.lengths.cumsum(0) - self.lengths

    @property
    def mask(self) -> Tensor | None:
        """Which places of the padded view hold a token [rows, length]; None when all do."""
        if self.index is None:
            return None
        grid = torch.zeros(self.rows * self.length, dtype=torch.bool, device=self.lengths.device)
        return grid.index_fill_(0, self.index, True).view(self.rows, self.length)

    def blocks(self) -> list["Packing"]:
        """The same tokens in parts of neighbouring sequences, cut where that spares much padding; for a processor.

        >>> packing = Packing.from_lengths(torch.tensor([9, 9, 90, 90]), tokens=198, length=90)
        >>> [(block.rows, block.length) for block in packing.blocks()]
        [(2, 9), (2, 90)]
        """
        lengths = self.lengths.numpy()
        ends = cuts(lengths)
        if len(ends) == 1:
            return [self]
        parts = [lengths[start:end] for start, end in pairwise([0, *ends])]
        return [
            Packing.from_lengths(torch.from_numpy(part), tokens=int(part.sum()), length=max(1, int(part.max())))
            for part in parts
        ]

    def flash_arguments(self) -> dict[str, Any]:
        """What variable-length attention wants to know, by the names that transformers gives it."""
        ends = torch.nn.functional.pad(self.lengths.cumsum(0), (1, 0)).to(torch.int32)
        return {
            "cu_seq_lens_q": ends,
            "cu_seq_lens_k": ends,
            "max_length_q": self.length,
            "max_length_k": self.length,
        }

    def pad(self, flat: Tensor) -> Tensor:
        """[tokens, ...] -> [rows, length, ...], zeros where no token is."""
        if self.index is not None:
            flat = spread(flat, self.index, self.rows * self.length)
        return flat.view(self.rows, self.length, *flat.shape[1:])

    def unpad(self, padded: Tensor) -> Tensor:
        """[rows, length, ...] -> [tokens, ...]."""
        flat = padded.reshape(self.rows * self.length, *padded.shape[2:])
        return flat if self.index is None else gather(flat, self.index)


def count_from(firsts: Tensor, lengths: Tensor, *, tokens: int) -> Tensor:
    """For each sequence, one after the other, as many numbers as it is long, from its first on [tokens].

    >>> count_from(torch.tensor([0, 7]), torch.tensor([2, 3]), tokens=5)
    tensor([0, 1, 7, 8, 9])
    """
    shift = firsts - (lengths.cumsum(0) - lengths)
    return torch.arange(tokens, device=lengths.device) + torch.repeat_interleave(shift, lengths, output_size=tokens)


def cuts(lengths: np.ndarray, start: int = 0) -> list[int]:
    """Where to end each block of sequences, so that their padded squares are small without being many."""
    rows, longest = np.arange(1, len(lengths) + 1), np.maximum.accumulate
    before, after = rows * longest(lengths) ** 2, (rows * longest(lengths[::-1]) ** 2)[::-1]
    if len(lengths) > 1:
        place = int((before[:-1] + after[1:]).argmin())
        spared = before[-1] - before[place] - after[place + 1]
        if spared > max(WORTH, before[-1] // 10):
            place += 1
            return cuts(lengths[:place], start) + cuts(lengths[place:], start + place)
    return [start + len(lengths)]


def spread(flat: Tensor, index: Tensor, places: int) -> Tensor:
    """Rows to distinct places of a larger tensor of zeros."""
    if torch.compiler.is_compiling():
        return flat.new_zeros(places, *flat.shape[1:]).index_copy(0, index, flat)
    return Spread.apply(flat, index, places)


def gather(flat: Tensor, index: Tensor) -> Tensor:
    """The inverse of `spread`."""
    return flat.index_select(0, index) if torch.compiler.is_compiling() else Gather.apply(flat, index)


class Spread(torch.autograd.Function):
    """`spread`, whose gradient gathers: without the adding that indexing alone would have to do."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, index: Tensor, places: int) -> Tensor:
        ctx.save_for_backward(index)
        return flat.new_zeros(places, *flat.shape[1:]).index_copy_(0, index, flat)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return Gather.apply(gradient, index), None, None


class Gather(torch.autograd.Function):
    """`gather`, whose gradient spreads."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.places = flat.shape[0]
        return flat.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return Spread.apply(gradient, index, ctx.places), None
