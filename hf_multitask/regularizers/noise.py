"""Random numbers that depend on what a sequence says, and not on which batch or process it is in."""

import torch
from torch import Tensor

from ..models.batch import Batch

__all__ = ["normal", "uniform"]

# Odd numbers without pattern, as 32 bits with a sign.
PLACE, WIDTH, SEED, STEP = -0x61C88647, -0x3D4D51CB, 0x27D4EB2F, 0x165667B1


def normal(batch: Batch, width: int, *, seed: int, step: int) -> Tensor:
    """Standard normal numbers [tokens, width] for an optimizer step.

    Each is a hash of the seed, the step, all token ids of its sequence, its place there and its dimension. So a
    sequence meets the same noise however a step is padded, repeated, or dealt out to processes and micro-steps.
    """
    sequences = batch.to_tokens(fingerprints(batch, seed=seed, step=step))
    keys = mix(sequences + places(batch) * PLACE)
    dimensions = torch.arange(width, dtype=torch.int32, device=keys.device)
    return torch.erfinv(fractions(mix(keys[:, None] + dimensions * WIDTH))) * 2**0.5


def uniform(batch: Batch, *, seed: int, step: int) -> Tensor:
    """A number between 0 and 1 for each sequence [rows], by the same rule."""
    return (fractions(mix(fingerprints(batch, seed=seed, step=step) + 1)) + 1) / 2


def fingerprints(batch: Batch, *, seed: int, step: int) -> Tensor:
    """A hash of each sequence's token ids in their order, of the seed and of the step [rows]."""
    draw = (seed * SEED + step * STEP + 2**31) % 2**32 - 2**31
    tokens = mix(batch.input_ids.int() + mix(places(batch) * PLACE + draw))
    return mix(batch.packing.pad(tokens).sum(1, dtype=torch.int32))


def places(batch: Batch) -> Tensor:
    """0, 1, ... within each sequence [tokens]."""
    count = torch.arange(batch.input_ids.shape[0], dtype=torch.int32, device=batch.input_ids.device)
    return count - batch.to_tokens(batch.packing.starts.int())


def mix(x: Tensor) -> Tensor:
    """Scatter the bits of whole numbers of 32 bits: the `lowbias32` hash (Wellons, 2018)."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * -0x7B935975
    return x ^ ((x >> 16) & 0xFFFF)


def fractions(x: Tensor) -> Tensor:
    """Whole numbers of 32 bits as numbers between -1 and 1, both left out."""
    most = 1 - 2**-24
    return (x.float() * 2**-31).clamp(-most, most)
