"""Which members count, and how much: rules that choose a combiner by what the members say on labelled rows."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..metrics import unit_score
from ..models.combiners import Combiner, Over, Route, Weighted
from .ballots import Ballot

__all__ = ["best_per_task", "best_single", "champions", "crossfit", "greedy", "keep", "threshold", "tuned"]

Fit = Callable[[Mapping[str, np.ndarray]], dict[str, Tensor]]
"""Chooses by some rows of each task, and gives the scores of all rows of each task by what was chosen."""


def threshold(ballot: Ballot, *, bar: float, over: Over = "probabilities") -> Combiner:
    """The mean of the members whose own metric is `bar` or more; the best one alone where none is."""
    passing = {number: 1.0 for number, value in singles(ballot).items() if value >= bar}
    return weighted(ballot, passing, over) if passing else best_per_task(ballot)


def greedy(ballot: Ballot, *, prior: Sequence[float] | None = None, over: Over = "probabilities") -> Combiner:
    """The mean of members that are tried from the best on, and kept when they do not make it worse.

    After the greedy soup of Wortsman et al. (2022); members count by their `prior` weights, and not at all by zero.
    """

    def of(numbers: Sequence[int]) -> Combiner:
        return weighted(ballot, {number: 1.0 if prior is None else prior[number] for number in numbers}, over)

    able = {number: value for number, value in singles(ballot).items() if prior is None or prior[number] > 0}
    return of(keep(able, lambda numbers: ballot.measure(of(numbers))))


def tuned(ballot: Ballot, *, trials: int = 200, seed: int = 0, over: Over = "probabilities") -> Combiner:
    """The mean by the weights for which Optuna's TPE finds the best metric. The plain mean is its first trial."""
    import optuna

    def objective(trial: optuna.Trial) -> float:
        weights = {number: trial.suggest_float(str(number), 0.0, 1.0) for number in ballot.able}
        return ballot.measure(weighted(ballot, weights, over)) if any(weights.values()) else -math.inf

    with quiet(optuna):
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        study.enqueue_trial({str(number): 1.0 for number in ballot.able})
        study.optimize(objective, n_trials=trials)
    # The first of the best: weights that gain nothing are not worth more than equal ones.
    best = max(study.trials, key=lambda trial: (trial.value, -trial.number))
    total = sum(best.params.values())
    return weighted(ballot, {int(number): weight / total for number, weight in best.params.items()}, over)


def best_per_task(ballot: Ballot) -> Combiner:
    """The member that is best at this task."""
    return Route(best(singles(ballot)))


def champions(ballots: Mapping[str, Ballot], *, over: Over = "probabilities") -> dict[str, Combiner]:
    """For each task the mean of all members that are the best at some task, and know this one."""
    first = {best(singles(ballot)) for ballot in ballots.values()}
    return {
        name: weighted(ballot, dict.fromkeys(first.intersection(ballot.able), 1.0), over)
        for name, ballot in ballots.items()
    }


def best_single(ballots: Mapping[str, Ballot], counted: Sequence[str]) -> int:
    """The number of the member with the best score over the `counted` tasks, of those that know the most of them."""
    found: dict[int, list[float]] = {}
    for name in counted:
        for number, value in singles(ballots[name]).items():
            found.setdefault(number, []).append(unit_score(ballots[name].task["metric"], value))
    most = max(map(len, found.values()))
    return best({number: float(np.mean(values)) for number, values in found.items() if len(values) == most})


def best(values: Mapping[int, float]) -> int:
    """The number of the highest value, the first of equal ones."""
    return max(values, key=lambda number: (values[number], -number))


def keep(alone: Mapping[int, float], measure: Callable[[Sequence[int]], float]) -> list[int]:
    """Numbers tried from the best `alone` on, and kept when what `measure` says of all that are kept is not less."""
    kept: list[int] = []
    reached = -math.inf
    for number in sorted(alone, key=lambda number: (-alone[number], number)):
        value = measure([*kept, number])
        if value >= reached:
            kept, reached = [*kept, number], value
    return kept


def crossfit(fit: Fit, ballots: Mapping[str, Ballot], *, seed: int = 0) -> dict[str, Tensor]:
    """The scores of each task by what was chosen on the other half of its rows.

    What is judged on the rows that it was chosen on looks better than it is. Where something else was chosen on either
    half, numbers are first brought to one scale: two members that say the same on scales of their own would have no
    correlation over both halves. No label is looked at for that: those of one half would tell of the other's.
    """
    split = {name: halves(len(ballot.labels), seed) for name, ballot in ballots.items()}
    found = [fit({name: parts[seen] for name, parts in split.items()}) for seen in (0, 1)]
    scores: dict[str, Tensor] = {}
    for name in (name for name in found[0] if name in found[1]):
        sides = [side[name] for side in found]
        if not torch.equal(*sides):
            sides[1] = ballots[name].levelled(sides[1], sides[0])
        scores[name] = torch.empty_like(sides[0])
        for side, held in zip(sides, reversed(split[name]), strict=True):
            scores[name][torch.from_numpy(held)] = side[torch.from_numpy(held)]
    return scores


def halves(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves of row numbers."""
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[: rows // 2]), np.sort(order[rows // 2 :])


def singles(ballot: Ballot) -> dict[int, float]:
    """The metric of each member that knows the task, by its number."""
    return {number: ballot.measure(Route(number)) for number in ballot.able}


def weighted(ballot: Ballot, weights: Mapping[int, float], over: Over) -> Weighted:
    """The mean by the weights of some members; the others have none."""
    return Weighted([weights.get(number, 0.0) for number in range(len(ballot.knowing))], over)


@contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """Without a line for each trial."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
