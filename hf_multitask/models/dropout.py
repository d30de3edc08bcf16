"""Dropout that is quick on a processor, and that a pass which is repeated does not draw again."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock

import torch
from torch import Tensor, nn

__all__ = ["Draws", "Dropout", "drop", "without_dropout"]

LANES = 1 << 16
SWITCHING = RLock()


class Draws:
    """What a pass left out, in its order, kept for the passes that repeat it.

    >>> draws, x = Draws(), torch.ones(8)
    >>> with draws.kept():
    ...     first = drop(x, 0.5)
    >>> with draws.again():
    ...     print(torch.equal(drop(x, 0.5), first))
    True
    """

    def __init__(self) -> None:
        # Each with the state of the generator after it, for what else draws.
        self.drawn: list[tuple[Tensor, Tensor]] = []
        self.next: Iterator[tuple[Tensor, Tensor]] | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is drawn is kept."""
        token = CURRENT.set(self)
        try:
            yield
        finally:
            CURRENT.reset(token)

    @contextmanager
    def again(self) -> Iterator[None]:
        """What was kept is taken instead of drawn, from the first on; with nothing kept, all is drawn."""
        if not self.drawn:
            yield
            return
        self.next = iter(self.drawn)
        with self.kept():
            try:
                yield
            finally:
                self.next = None

    def factors(self, x: Tensor, p: float) -> Tensor:
        """Those of the next dropout, [*x.shape]."""
        if self.next is None:
            self.drawn.append((factors(x, p), torch.get_rng_state()))
            return self.drawn[-1][0]
        drawn, state = next(self.next)
        torch.set_rng_state(state)
        return drawn


CURRENT: ContextVar[Draws | None] = ContextVar("draws", default=None)


class Dropout(nn.Dropout):
    """`nn.Dropout`, by `drop`."""

    def forward(self, x: Tensor) -> Tensor:
        return drop(x, self.p) if self.training else x


def drop(x: Tensor, p: float) -> Tensor:
    """Each number is left out with probability `p`, and the others grow to make up for it.

    On a processor `p` is rounded to 1/65536, since 16 random bits decide on a number: a quarter of the time that
    torch's own dropout takes there. Elsewhere torch's own is used.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling() or not 0 < p < 1:
        return nn.functional.dropout(x, p)
    draws = CURRENT.get()
    return x * (factors(x, p) if draws is None else draws.factors(x, p))


def factors(x: Tensor, p: float) -> Tensor:
    """Zero with probability `p`, and otherwise what makes the mean one [*x.shape]."""
    out = min(round(p * LANES), LANES - 1)
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    lanes = bits.view(torch.int16)[: x.numel()].view(x.shape)
    return (lanes >= out - LANES // 2).to(x.dtype).mul_(LANES / (LANES - out))


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Every module evaluates, and afterwards is in the mode that it was in.

    Of threads that ask a model which was left training, one does at a time: another's end would turn dropout on.
    """
    with SWITCHING:
        modes = [(module, module.training) for module in model.modules()]
        if any(mode for _, mode in modes):
            model.eval()
            try:
                yield
            finally:
                for module, mode in modes:
                    module.training = mode
            return
    yield
