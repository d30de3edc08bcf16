"""The matrix products of a step, run alone: what no implementation of it can go below."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["bare"]

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}
ATTENTION = "scaled_dot_product"
Call = tuple[Callable[..., Tensor], list[Any]]


class Recorded(TorchDispatchMode):
    """Keeps which products are taken, of tensors of which shape, stride and type."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.tensors: dict[Any, Tensor] = {}

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = op.overloadpacket.__name__
        if name in PRODUCTS:
            self.calls.append((op, [self.like(each) for each in args]))
        elif ATTENTION in name:
            # Fused: q k^T and p v forward; both of those, and twice as many for the gradients, less one, back.
            backward = "backward" in name
            query = args[1 if backward else 0].flatten(0, -3)
            rows, keys = self.like(query.contiguous()), self.like(query.transpose(1, 2).contiguous())
            weights = self.like(query.new_empty(query.shape[0], query.shape[1], query.shape[1]))
            calls: list[Call] = [(torch.bmm, [rows, keys]), (torch.bmm, [weights, rows])]
            self.calls += [*calls, *calls, calls[1]] if backward else calls
        return op(*args, **(kwargs or {}))

    def like(self, one: Any) -> Any:
        """A tensor like that one, the same for all that are alike."""
        if not isinstance(one, Tensor):
            return one
        way = (tuple(one.shape), one.stride(), one.dtype)
        if way not in self.tensors:
            self.tensors[way] = torch.empty_strided(*way[:2], dtype=one.dtype, device=one.device).fill_(0.5)
        return self.tensors[way]


def bare(step: Callable[[int], object], count: int) -> Callable[[int], None]:
    """A function whose i-th call takes the matrix products of `step(i)` and does nothing else, i below `count`.

    >>> alone = bare(lambda i: torch.ones(2, 3) @ torch.ones(3, 4), 1)
    >>> alone(0)
    """
    recorded: list[list[Call]] = []
    for i in range(count):
        with Recorded() as seen:
            step(i)
        recorded.append(seen.calls)

    @torch.no_grad()
    def products(i: int) -> None:
        for product, operands in recorded[i % count]:
            product(*operands)

    return products
