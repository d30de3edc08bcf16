"""How the gradients of several tasks become one."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor
from torchjd.aggregation import UPGradWeighting
from torchjd.linalg import DualConeProjector, PSDMatrix

from .models.construct import construct

__all__ = ["AGGREGATORS", "Aggregator", "Mean", "PCGrad", "Sum", "UPGrad", "build_aggregator"]


class Aggregator(ABC):
    """Weights for the gradients of T tasks, from all their inner products: gramian [T, T] -> weights [T].

    The gradients' sum by these weights is what the optimizer gets. What is random is drawn with `draw`, seeded by the
    caller, so that every process draws the same.

    >>> PCGrad()(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]), draw=np.random.default_rng(0))
    tensor([1.5000, 1.5000])
    """

    @abstractmethod
    def __call__(self, gramian: Tensor, *, draw: np.random.Generator) -> Tensor: ...


class Sum(Aggregator):
    """The plain sum, which is what training on summed losses does."""

    def __call__(self, gramian: Tensor, *, draw: np.random.Generator) -> Tensor:
        return gramian.new_ones(len(gramian))


class Mean(Aggregator):
    """The plain mean."""

    def __call__(self, gramian: Tensor, *, draw: np.random.Generator) -> Tensor:
        return gramian.new_full((len(gramian),), 1 / len(gramian))


class PCGrad(Aggregator):
    """Take from each task's gradient what conflicts with the others', then sum (Yu et al., 2020, algorithm 1).

    Each gradient meets the others in a random order. Where their inner product is negative, it loses its part along
    the other's original gradient. A gradient of length zero conflicts with none.
    """

    def __call__(self, gramian: Tensor, *, draw: np.random.Generator) -> Tensor:
        count = len(gramian)
        # Row i holds what gradient i has become, as weights of the original gradients.
        projected = torch.eye(count, dtype=gramian.dtype, device=gramian.device)
        for i in range(count):
            for j in draw.permutation(count):
                product = gramian[j] @ projected[i]
                if j != i and product < 0:
                    projected[i, j] -= product / gramian[j, j]
        return projected.sum(0)


class UPGrad(Aggregator):
    """Project each gradient to the nearest one that conflicts with no task, then average (Quinton & Rey, 2024).

    The result has no negative inner product with any task's gradient. Where none conflict it is their mean.
    """

    def __init__(self) -> None:
        self.weighting = UPGradWeighting(projector=LeastSquares())

    def __call__(self, gramian: Tensor, *, draw: np.random.Generator) -> Tensor:
        return self.weighting(gramian)


class LeastSquares(DualConeProjector):
    """Torchjd's quadratic program, min v^T G v with v >= u, as least squares in v - u >= 0.

    torchjd's own solver needs two more packages, and takes gradients for zero that are shorter than .01.
    """

    def __call__(self, U: Tensor, G: PSDMatrix) -> Tensor:
        scale = G.diagonal().sum().double()
        # The small addition is torchjd's: it keeps weights bounded where gradients cancel out.
        even = G.double() / torch.where(scale > 0, scale, 1) + 1e-4 * torch.eye(len(G), device=G.device)
        root = torch.linalg.cholesky(even).T.cpu().numpy()
        found = [u + nnls(root, -root @ u)[0] for u in U.double().cpu().numpy()]
        return torch.from_numpy(np.stack(found)).to(G)


AGGREGATORS: dict[str, type[Aggregator]] = {
    aggregator.__name__: aggregator for aggregator in (Mean, PCGrad, Sum, UPGrad)
}


def build_aggregator(spec: dict[str, Any]) -> Aggregator:
    """The aggregator that a description such as `{"class": "PCGrad"}` names."""
    return construct("aggregator", AGGREGATORS, spec)
