"""What turns pooled rows into scores: `Linear` and `MLP` read one sequence, `Concat` and `Cosine` compare two."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .construct import construct, unknown
from .dropout import Dropout

__all__ = ["MLP", "Concat", "Cosine", "Head", "Linear"]


class Head(nn.Module):
    """Scores [n, outputs] from `texts` pooled rows [n, width] each."""

    texts = 1


class Linear(Head):
    """Dropout, then one linear layer."""

    def __init__(self, width: int, outputs: int, *, dropout: float = 0.1):
        super().__init__()
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(width, outputs)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.out(self.dropout(pooled))


class MLP(Head):
    """Two layers with a GELU between them; `hidden` is the width of the pooled row unless it is given."""

    def __init__(self, width: int, outputs: int, *, hidden: int | None = None, dropout: float = 0.1):
        super().__init__()
        self.dropout = Dropout(dropout)
        self.dense = nn.Linear(width, hidden or width)
        self.out = nn.Linear(hidden or width, outputs)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.out(self.dropout(nn.functional.gelu(self.dense(self.dropout(pooled)))))


FEATURES = {
    "u": lambda u, v: u,
    "v": lambda u, v: v,
    "|u-v|": lambda u, v: (u - v).abs(),
    "u*v": lambda u, v: u * v,
}


class Concat(Head):
    """Features of two embeddings side by side, such as [u; v; |u-v|], then linear, or an MLP when `hidden` is given."""

    texts = 2

    def __init__(
        self,
        width: int,
        outputs: int,
        *,
        features: Sequence[str] = ("u", "v"),
        hidden: int | None = None,
        dropout: float = 0.1,
    ):
        super().__init__()
        for feature in features:
            if feature not in FEATURES:
                raise ValueError(unknown("feature of Concat", feature, FEATURES))
        if not features:
            raise ValueError(f"Concat needs one feature or more. Choices: {', '.join(FEATURES)}.")
        self.features = tuple(features)
        joined = width * len(self.features)
        self.body: Head = (
            Linear(joined, outputs, dropout=dropout)
            if hidden is None
            else MLP(joined, outputs, hidden=hidden, dropout=dropout)
        )

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        return self.body(torch.cat([FEATURES[feature](u, v) for feature in self.features], dim=-1))


class Cosine(Head):
    """The cosine of two embeddings; `learned`: times a scale plus a shift that are trained.

    They start where a cosine of 0 gives the first score of `reach`, which is the objective's, and a cosine of 1 the
    second; or at `scale` and `shift`. By the steps of a trunk, a shift would need all of a training to go where the
    cosines of pairs that are alike part from the others: `MultitaskTrainer` lets both learn a hundred times as fast,
    at `rate` at the most.
    """

    texts = 2
    rate = 4e-3

    def __init__(
        self,
        width: int,
        outputs: int,
        *,
        learned: bool = True,
        scale: float | None = None,
        shift: float | None = None,
        reach: tuple[float, float] = (0.0, 1.0),
        dropout: float = 0.1,
    ):
        super().__init__()
        if outputs != 1:
            raise ValueError(f"Cosine gives one score a row. This objective needs {outputs}: use Concat.")
        self.dropout = Dropout(dropout)
        low, high = reach
        self.start = (high - low if scale is None else scale, low if shift is None else shift)
        # How far both have moved: a weight decay leads back to the start.
        self.scalars = nn.Parameter(torch.zeros(2)) if learned else None

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        cosine = nn.functional.cosine_similarity(self.dropout(u), self.dropout(v), dim=-1)[:, None]
        if self.scalars is None:
            return cosine
        scale, shift = (start + moved for start, moved in zip(self.start, self.scalars, strict=True))
        return scale * cosine + shift


HEADS: dict[str, type[Head]] = {head.__name__: head for head in (Concat, Cosine, Linear, MLP)}


def build_head(
    spec: dict[str, Any], *, width: int, outputs: int, dropout: float, reach: tuple[float, float] = (0.0, 1.0)
) -> Head:
    """The head that a description such as `{"class": "Concat", "features": ["u", "v"]}` names.

    `reach` are the scores that mean the lowest and the highest answer, where one score is all.
    """
    given: dict[str, Any] = {} if "dropout" in spec else {"dropout": dropout}
    given |= {"reach": reach} if spec.get("class") == Cosine.__name__ else {}
    return construct("head", HEADS, spec, width=width, outputs=outputs, **given)
