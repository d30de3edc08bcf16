"""SMART: answers that stay the same where the words move a little."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..models.batch import Batch
from ..models.construct import unknown
from ..models.dropout import without_dropout
from ..models.replay import Replay
from .noise import normal
from .regularizer import Regularizer, Rows, divergences

__all__ = ["Smart"]

Norm = Literal["inf", "2"]
Mode = Literal["paper", "mtdnn", "mtdnn_raw"]
Dropout = Literal["shared", "off", "fresh"]

SEEN = {"inf": 1e-4, "2": 1e-2}
"""The epsilon from which on half precision sees the divergence of a row of about 30 tokens."""


class Smart(Regularizer):
    """Smoothness-inducing adversarial regularization (Jiang et al., 2020, algorithm 1).

    The word embeddings of a row move by noise of deviation `sigma`, then in `steps` of ascent to where the answers
    diverge most from the clean ones, at most `epsilon` away; that divergence is the penalty. A row is what one label
    belongs to: all tokens of its sequence, or of both where a pair is encoded apart. `norm` is of the ball, and of
    the gradient before a step: the largest number of a row, "inf", or its length, "2".

    `mode`:
      "paper": d <- project(d + eta * g / norm(g)). The defaults are the paper's, whose weights were 1, 3 and 5. An
        epsilon of 1e-5 gives a penalty of about 1e-6, which hardly touches training; and half precision cannot see
        it (recipes/README.md has numbers).
      "mtdnn_raw": d <- unit(d + eta * g), where unit(x) = x / (norm(x) + epsilon) for each token alone. This is the
        step of mt-dnn and smart-pytorch: the perturbation of every token has a size of about 1, larger than its
        embedding, and eta * g hardly turns the first noise, for g is as small as that. Chance is what moves the words.
      "mtdnn": d <- unit(d + eta * unit(g)): of that size too, but it follows the gradient.

    `dropout` in the passes of moved words:
      "shared": what the clean pass left out is left out again, so that only the words differ.
      "off": both answers without dropout; the clean ones then cost a pass of their own.
      "fresh": drawn anew in each pass, as mt-dnn has it; the divergence is then mostly the dropout's.

    >>> from hf_multitask import SST, MinBertConfig, MultitaskConfig, MultitaskModel
    >>> small = MinBertConfig(hidden_size=24, intermediate_size=48, num_hidden_layers=1)
    >>> model = MultitaskModel(MultitaskConfig(trunk=small, tasks={"sst": SST.describe()}))
    >>> batch = Batch.of(torch.tensor([101, 2307, 102]), torch.tensor([3]), 3, {"sst": torch.tensor([0])})
    >>> replay = Replay(model, batch)
    >>> rows, measures = Smart(epsilon=0.01)(replay, model.read(replay.batch), seed=0, step=0)
    >>> rows["sst"].shape, list(measures)
    (torch.Size([1]), ['ratio', 'cosine'])
    """

    climbs = True
    measures = ("ratio", "cosine")
    levers = "weight or epsilon"

    def __init__(
        self,
        weight: float = 5.0,
        *,
        epsilon: float = 1e-5,
        eta: float = 1e-3,
        sigma: float = 1e-5,
        norm: Norm = "inf",
        steps: int = 1,
        mode: Mode = "paper",
        dropout: Dropout = "shared",
        every: int = 1,
        fraction: float = 1.0,
    ):
        super().__init__(weight, every=every, fraction=fraction)
        for name, size in (("epsilon", epsilon), ("eta", eta), ("sigma", sigma)):
            if not size > 0:
                raise ValueError(f"{name} of Smart must be above 0. Got {size:g}.")
        if steps < 1:
            raise ValueError(f"steps of Smart must be 1 or more. Got {steps}.")
        for name, chosen, kind in (("norm", norm, Norm), ("mode", mode, Mode), ("dropout", dropout, Dropout)):
            if chosen not in get_args(kind):
                raise ValueError(unknown(f"{name} of Smart", chosen, get_args(kind)))
        self.epsilon, self.eta, self.sigma, self.norm, self.steps = epsilon, eta, sigma, norm, steps
        self.mode, self.dropout = mode, dropout
        self.repeats = dropout == "shared"

    def doubt(self, precision: str) -> str | None:
        if precision == "no" or self.mode != "paper" or self.epsilon >= SEEN[self.norm]:
            return None
        return (
            f"Smart moves words by {self.epsilon:g} at most, which {precision} rounds away: its penalty would measure "
            f"the rounding. Train in float32, or take an epsilon of {SEEN[self.norm]:g} or more."
        )

    def __call__(self, replay: Replay, scores: Rows, *, seed: int, step: int) -> tuple[Rows, dict[str, Rows]]:
        model, batch, words = replay.model, replay.batch, replay.words
        read: Callable[[Tensor], Rows] = replay if self.dropout == "shared" else partial(model.read, batch)
        mode: AbstractContextManager[Any] = without_dropout(model) if self.dropout == "off" else nullcontext()
        with mode:
            if self.dropout == "off":
                scores = read(words)
            noise = self.sigma * normal(batch, words.shape[-1], seed=seed, step=step).to(words.dtype)
            for _ in range(self.steps):
                gradient = self.gradient(replay, read, noise, scores)
                noise = self.climb(noise, gradient, batch)
            moved = read(words + noise)
        return divergences(model, scores, moved), measured(noise, gradient, words.detach(), batch)

    def gradient(self, replay: Replay, read: Callable[[Tensor], Rows], noise: Tensor, scores: Rows) -> Tensor:
        """Of the divergence from the clean scores, with respect to the noise [tokens, width]."""
        fixed = {name: score.detach() for name, score in scores.items()}
        with torch.enable_grad():
            noise = noise.detach().requires_grad_()
            moved = read(replay.words.detach() + noise)
            found = divergences(replay.model, fixed, moved)
            # No weight gets a gradient here, and nothing that waits for one is woken.
            (gradient,) = torch.autograd.grad(torch.cat(list(found.values())).sum(), noise)
        return gradient

    def climb(self, noise: Tensor, gradient: Tensor, batch: Batch) -> Tensor:
        """One step of ascent."""
        if self.mode != "paper":
            size = positive(sizes(gradient, self.norm))[:, None] if self.mode == "mtdnn" else 1
            noise = noise + self.eta * gradient / size
            return noise / (sizes(noise, self.norm) + self.epsilon)[:, None]
        size = batch.to_tokens(row_sizes(gradient, self.norm, batch))[:, None]
        noise = noise + self.eta * gradient / positive(size)
        if self.norm == "inf":
            return noise.clamp(-self.epsilon, self.epsilon)
        size = batch.to_tokens(row_sizes(noise, self.norm, batch))[:, None]
        return noise * (self.epsilon / positive(size)).clamp(max=1)


def sizes(x: Tensor, norm: Norm) -> Tensor:
    """The norm of each token's numbers: [tokens, width] -> [tokens]."""
    return x.abs().amax(-1) if norm == "inf" else x.norm(dim=-1)


def row_sizes(x: Tensor, norm: Norm, batch: Batch) -> Tensor:
    """The norm of all numbers of a row, for each of its sequences: [tokens, width] -> [sequences]."""
    found = sizes(x, norm)
    return over_rows(found, torch.amax, batch) if norm == "inf" else over_rows(found.square(), torch.sum, batch).sqrt()


def over_rows(x: Tensor, fold: Callable[[Tensor, int], Tensor], batch: Batch) -> Tensor:
    """Fold the numbers of a row's tokens into one for each of its sequences: [tokens] -> [sequences]."""
    folded = fold(batch.packing.pad(x), 1)
    for rows in batch.rows.values():
        if rows.dim() == 2:
            folded = folded.index_copy(0, rows.flatten(), fold(folded[rows], 1).repeat_interleave(2))
    return folded


def measured(noise: Tensor, gradient: Tensor, words: Tensor, batch: Batch) -> dict[str, Rows]:
    """How long a row's perturbation is beside its embeddings, and how near the direction of the gradient."""
    lengths = [row_sizes(x, "2", batch) for x in (noise, gradient, words)]
    inner = over_rows((noise * gradient).sum(-1), torch.sum, batch)
    found = {"ratio": lengths[0] / positive(lengths[2]), "cosine": inner / positive(lengths[0]) / positive(lengths[1])}
    firsts = {name: rows if rows.dim() == 1 else rows[:, 0] for name, rows in batch.rows.items()}
    return {key: {name: numbers[rows] for name, rows in firsts.items()} for key, numbers in found.items()}


def positive(x: Tensor) -> Tensor:
    """Zero made large enough to divide zero by."""
    return x.clamp(min=torch.finfo(x.dtype).tiny)
