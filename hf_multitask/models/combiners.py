"""How the scores of several models become one: `Mean`, `Weighted`, `Vote`, `Route`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .construct import construct, unknown
from .objectives import Objective

__all__ = ["COMBINERS", "Combiner", "Mean", "Route", "Vote", "Weighted", "build_combiner"]

Over = Literal["probabilities", "logits"]

TIE = 1e-6
"""The share of all votes that is left to the mean probabilities, so that they break ties."""


class Combiner(ABC):
    """Makes scores [rows, outputs] of those of several members [members, rows, outputs], in terms of one objective.

    `given` are the weights of the members as somebody chose them; `weigh` makes them sum to one over the members that
    know the task, and whoever has weight zero need not be asked. One member alone keeps its scores to the bit.
    """

    def __call__(self, scores: Tensor, objective: Objective) -> Tensor:
        weights = self.weigh([True] * len(scores))
        asked = weights > 0
        return self.join(scores[asked], weights[asked], objective)

    def weigh(self, knowing: Sequence[bool]) -> Tensor:
        """The weight of each member [members], zero for those that do not know the task."""
        given = torch.tensor(self.given(len(knowing)), dtype=torch.float64)
        if len(given) != len(knowing):
            raise ValueError(f"{type(self).__name__} has {len(given)} weights for {len(knowing)} members.")
        if not bool(torch.isfinite(given).all()) or bool((given < 0).any()):
            raise ValueError(f"Weights of {type(self).__name__} are zero or more. Got {given.tolist()}.")
        weights = given * torch.tensor(knowing)
        if not weights.sum() > 0:
            raise ValueError(f"{type(self).__name__} gives no weight to a member that knows the task.")
        return weights / weights.sum()

    def join(self, scores: Tensor, weights: Tensor, objective: Objective) -> Tensor:
        """One score of those of the members that are asked, whose weights [members] sum to one."""
        return scores[0] if len(scores) == 1 else self.combine(scores, weights, objective)

    def check(self, objective: Objective) -> None:
        """Raise where answers of this kind cannot be joined so."""
        # Most join all kinds.
        return

    def among(self, kept: Sequence[int]) -> "Combiner":
        """The same for fewer members, by their numbers now; whoever is left out had no weight."""
        return self

    def describe(self) -> dict[str, Any]:
        """A plain description that `build_combiner` turns back into this object."""
        return {"class": type(self).__name__, **vars(self)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Combiner) and self.describe() == other.describe()

    @abstractmethod
    def given(self, members: int) -> list[float]: ...

    @abstractmethod
    def combine(self, scores: Tensor, weights: Tensor, objective: Objective) -> Tensor: ...


class Mean(Combiner):
    """The mean of the members' probabilities, or of their logits; of numbers, the mean number.

    >>> from hf_multitask import Binary
    >>> Mean(over="logits")(torch.tensor([[[1.0]], [[3.0]]]), Binary())
    tensor([[2.]])
    """

    def __init__(self, over: Over = "probabilities"):
        if over not in get_args(Over):
            raise ValueError(unknown(f"option 'over' of {type(self).__name__}", over, get_args(Over)))
        self.over = over

    def given(self, members: int) -> list[float]:
        return [1.0] * members

    def combine(self, scores: Tensor, weights: Tensor, objective: Objective) -> Tensor:
        if self.over == "logits":
            return mean(scores, weights)
        return objective.scores_of(mean(objective.answers(scores), weights))


class Weighted(Mean):
    """The mean in which each member counts by its weight."""

    def __init__(self, weights: Sequence[float], over: Over = "probabilities"):
        super().__init__(over)
        self.weights = [float(weight) for weight in weights]

    def among(self, kept: Sequence[int]) -> Combiner:
        return Weighted([self.weights[number] for number in kept], self.over)

    def given(self, members: int) -> list[float]:
        return self.weights


class Vote(Combiner):
    """Each member gives its weight to the label it would choose. Ties go to the higher mean probability.

    >>> from hf_multitask import Binary
    >>> Binary().decode(Vote()(torch.tensor([[[1.0]], [[1.0]], [[-9.0]]]), Binary())).labels
    ['yes']
    """

    def __init__(self, weights: Sequence[float] | None = None):
        self.weights = None if weights is None else [float(weight) for weight in weights]

    def among(self, kept: Sequence[int]) -> Combiner:
        return Vote(None if self.weights is None else [self.weights[number] for number in kept])

    def given(self, members: int) -> list[float]:
        return [1.0] * members if self.weights is None else self.weights

    def check(self, objective: Objective) -> None:
        if objective.labels is None:
            raise ValueError("Vote counts labels, and this task has numbers. Take Mean, Weighted or Route for it.")

    def combine(self, scores: Tensor, weights: Tensor, objective: Objective) -> Tensor:
        self.check(objective)
        answers = objective.answers(scores)
        chosen = torch.stack([objective.decode(member).values for member in scores])
        votes = torch.zeros_like(answers).scatter_(-1, chosen[..., None], 1)
        scores = objective.scores_of((1 - TIE) * mean(votes, weights) + TIE * mean(answers, weights))
        # From the highest on, near which numbers lie closest: what breaks a tie outlasts single precision.
        return scores - scores.amax(-1, keepdim=True) if objective.outputs > 1 else scores


class Route(Combiner):
    """What one member says, by its number among all."""

    def __init__(self, member: int):
        if member < 0:
            raise ValueError(f"Route leads to a member by its number, from 0. Got {member}.")
        self.member = member

    def among(self, kept: Sequence[int]) -> Combiner:
        return Route(list(kept).index(self.member))

    def given(self, members: int) -> list[float]:
        if self.member >= members:
            raise ValueError(f"Route leads to member {self.member}, and the last of {members} is {members - 1}.")
        return [float(i == self.member) for i in range(members)]

    def combine(self, scores: Tensor, weights: Tensor, objective: Objective) -> Tensor:
        return mean(scores, weights)


COMBINERS: dict[str, type[Combiner]] = {member.__name__: member for member in (Mean, Route, Vote, Weighted)}


def build_combiner(spec: dict[str, Any]) -> Combiner:
    """The combiner that a description such as `{"class": "Mean", "over": "logits"}` names."""
    return construct("combiner", COMBINERS, spec)


def mean(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean over members of values [members, ..]."""
    return torch.tensordot(weights.to(values), values, dims=1)
