"""From the members of an ensemble to one model: what each rule makes."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel

from ..metrics import mean_score
from ..models.combiners import Combiner
from ..models.modeling_ensemble import EnsembleModel
from ..models.modeling_multitask import MultitaskModel
from ..models.objectives import Objective, translated
from ..training.backends import processes
from .ballots import Ballot, collect, texts_of
from .calibration import fit_temperature
from .distillation import soften
from .selection import Fit, crossfit, keep
from .soups import soup

__all__ = ["Made", "all_rows", "combine", "gather", "mix", "soft_rows", "taught"]

Ballots = Mapping[str, Ballot]


@dataclass
class Made:
    """A model, its scores [rows, outputs] of each task, and its scores of each half by what was chosen on the other.

    `seconds` is what its answers took; `raw` are its scores before a temperature divided them.
    """

    model: PreTrainedModel
    scores: dict[str, Tensor]
    crossfitted: dict[str, Tensor]
    seconds: float
    about: dict[str, Any] = field(default_factory=dict)
    raw: dict[str, Tensor] = field(default_factory=dict)


def gather(members: Sequence[str], *, one_at_a_time: bool, over: str) -> EnsembleModel:
    """The plain mean of members, from which every rule begins, on this process's device."""
    state = processes()
    if state.num_processes > 1:
        raise ValueError(
            "Members are asked in one process: start ensemble.py without a launcher. What it makes may be judged by "
            "evaluate.py in several."
        )
    combiner = {"class": "Mean", "over": over}
    return EnsembleModel.from_members(members, combiner=combiner, one_at_a_time=one_at_a_time).to(state.device)


def combine(
    ensemble: EnsembleModel,
    ballots: Ballots,
    choose: Callable[[Ballots], dict[str, Combiner]],
    *,
    calibrated: bool = False,
    seed: int = 0,
) -> Made:
    """The ensemble with the combiner that `choose` gives for each task, without members that nobody asks."""

    fair = {name: ballot.fairly() for name, ballot in ballots.items()}

    def fit(seen: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        chosen = choose({name: ballot.rows(seen[name]) for name, ballot in fair.items()})
        return {name: ballot.join(chosen[name]) for name, ballot in fair.items()}

    combiners = choose(ballots)
    weights = {name: combiners[name].weigh(ballot.knowing) for name, ballot in ballots.items()}
    asked = {name: weights[name].nonzero().flatten().tolist() for name in ballots}
    ensemble.config.combiners |= {name: combiner.describe() for name, combiner in combiners.items()}
    ensemble.dismiss_idle()
    seconds = sum(ballots[name].seconds[number] for name in ballots for number in asked[name])
    about = {"weights": {name: [round(weight, 4) for weight in weights[name].tolist()] for name in ballots}}
    scores = {name: ballot.join(combiners[name]) for name, ballot in ballots.items()}
    return finished(ensemble, ballots, scores, fit, seconds, about, calibrated=calibrated, seed=seed)


def mix(
    ensemble: EnsembleModel,
    ballots: Ballots,
    rows: Mapping[str, Dataset],
    *,
    greedily: bool = True,
    prior: Sequence[float] | None = None,
    calibrated: bool = False,
    seed: int = 0,
    batch_size: int = 64,
) -> Made:
    """The soup of all members, or of those that are kept when they do not make the mean score worse."""
    members = [ensemble.member(number) for number in range(len(ensemble.sources))]
    everyone = tuple(range(len(members)))
    tasted: dict[tuple[int, ...], dict[str, Tensor]] = {}
    fair = {name: ballot.fairly() for name, ballot in ballots.items()}

    def cook(numbers: Sequence[int]) -> MultitaskModel:
        chosen = [members[number] for number in numbers]
        return soup(chosen, None if prior is None else [prior[number] for number in numbers])

    def taste(numbers: Sequence[int], ballots: Ballots) -> dict[str, Tensor]:
        kind = tuple(sorted(numbers))
        if len(kind) == 1:
            return {name: ballot.scores[kind[0]] for name, ballot in ballots.items()}
        if kind not in tasted:
            tasted[kind] = answers_of(cook(kind), rows, batch_size)[0]
        return tasted[kind]

    def pick(seen: Mapping[str, np.ndarray], ballots: Ballots) -> tuple[int, ...]:
        if not greedily:
            return everyone
        parts = {name: ballot.rows(seen[name]) for name, ballot in ballots.items()}

        def worth(numbers: Sequence[int]) -> float:
            found = taste(numbers, ballots)
            values = {name: part.judge(part.values(found[name][seen[name]])) for name, part in parts.items()}
            return mean_score({name: part.task for name, part in parts.items()}, values)

        able = [number for number in everyone if prior is None or prior[number] > 0]
        return tuple(sorted(keep({number: worth([number]) for number in able}, worth)))

    # Before anything is tasted, so that models which make no soup are told at once.
    cook(everyone)
    kept = pick(all_rows(ballots), ballots)
    made = cook(kept)
    found, seconds = answers_of(made, rows, batch_size)
    about = {"soup": list(kept)}
    return finished(
        made,
        ballots,
        found,
        lambda seen: taste(pick(seen, fair), fair),
        seconds,
        about,
        calibrated=calibrated,
        seed=seed,
    )


def soft_rows(
    ensemble: EnsembleModel,
    rows: Mapping[str, Dataset],
    *,
    objectives: Mapping[str, Objective] | None = None,
    trust: float = 1.0,
    cache: str | Path | None = None,
    batch_size: int = 64,
) -> dict[str, Dataset]:
    """Training rows that say what the ensemble says of them, in terms of a student's `objectives` or its own."""
    taken = {}
    for name, ballot in collect(ensemble, rows, cache=cache, batch_size=batch_size).items():
        own = (objectives or {}).get(name, ballot.objective)
        scores = translated(ballot.join(ensemble.config.combiner(name)), ballot.objective, own)
        taken[name] = soften(rows[name], scores, own, trust=trust)
    return taken


def taught(
    student: MultitaskModel,
    ballots: Ballots,
    rows: Mapping[str, Dataset],
    *,
    calibrated: bool = False,
    seed: int = 0,
    batch_size: int = 64,
) -> Made:
    """A student that was trained already: nothing is left to choose."""
    said, seconds = answers_of(student, rows, batch_size)
    # In the members' terms, in which all of them are judged.
    found = {
        name: translated(said[name], student.objectives[name], ballot.objective) for name, ballot in ballots.items()
    }
    return finished(student, ballots, found, lambda seen: found, seconds, {}, calibrated=calibrated, seed=seed)


def finished(
    model: Any,
    ballots: Ballots,
    scores: dict[str, Tensor],
    fit: Fit,
    seconds: float,
    about: dict[str, Any],
    *,
    calibrated: bool,
    seed: int,
) -> Made:
    """What was made, with its temperatures where they are wanted, and what it gives when it is cross-fitted."""
    whole = all_rows(ballots)
    heats = temperatures(ballots, scores, whole) if calibrated else {}

    def warm(seen: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        found = fit(seen)
        return cooled(found, temperatures(ballots, found, seen) if calibrated else {})

    model.config.temperatures = heats
    return Made(model, cooled(scores, heats), crossfit(warm, ballots, seed=seed), seconds, about, scores)


def temperatures(ballots: Ballots, scores: Mapping[str, Tensor], seen: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The best temperature of each task with classes, by some of its rows."""
    return {
        name: fit_temperature(scores[name][seen[name]], ballot.labels[seen[name]], ballot.objective)
        for name, ballot in ballots.items()
        if ballot.objective.labels
    }


def cooled(scores: Mapping[str, Tensor], heats: Mapping[str, float]) -> dict[str, Tensor]:
    return {name: found / heats.get(name, 1.0) for name, found in scores.items()}


def answers_of(model: Any, rows: Mapping[str, Dataset], batch_size: int) -> tuple[dict[str, Tensor], float]:
    """A model's scores of each task, and the seconds that they took."""
    start = time.perf_counter()
    found = {
        name: model.answer(name, texts_of(model.tasks[name], data), batch_size=batch_size).double()
        for name, data in rows.items()
    }
    return found, time.perf_counter() - start


def all_rows(ballots: Ballots) -> dict[str, np.ndarray]:
    return {name: np.arange(len(ballot.labels)) for name, ballot in ballots.items()}
