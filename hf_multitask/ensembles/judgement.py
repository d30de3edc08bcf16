"""How good an ensemble is: in-sample and cross-fitted, beside its best member, and what is gained over it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset
from torch import Tensor

from ..evaluation.answers import Answers
from ..evaluation.comparison import Gain, Pair, gains
from ..evaluator import evaluate
from ..metrics import counted
from ..models.combiners import Route
from ..models.objectives import translated
from ..report import Report
from .ballots import Ballot, Recorded
from .calibration import calibration_error
from .making import Made, all_rows
from .selection import best_single, crossfit

__all__ = ["judge"]

Ballots = Mapping[str, Ballot]


def judge(
    made: Made,
    ballots: Ballots,
    rows: Mapping[str, Dataset],
    *,
    seed: int = 0,
    resamples: int = 1000,
    answers: dict[str, Answers] | None = None,
    **about: Any,
) -> Report:
    """The report: what was made, in-sample and cross-fitted, beside the best member, with what is gained over it.

    `answers` is filled with what it says, in its own terms, in-sample and cross-fitted, and what each member says.
    """
    tasks = {name: ballot.task for name, ballot in ballots.items()}
    names = counted(tasks)
    fair = {name: ballot.fairly() for name, ballot in ballots.items()}

    def single(ballots: Ballots, seen: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        chosen = best_single({name: ballot.rows(seen[name]) for name, ballot in ballots.items()}, names)
        return {name: ballot.join(Route(chosen)) for name, ballot in ballots.items() if ballot.knowing[chosen]}

    columns = {
        "cross-fitted": made.crossfitted,
        "best single": single(ballots, all_rows(ballots)),
        "best single cross-fitted": crossfit(partial(single, fair), ballots, seed=seed),
    }
    beside = {column: measured(ballots, found) for column, found in columns.items()}
    sides = {
        "in-sample": (made.scores, columns["best single"]),
        "cross-fitted": (made.crossfitted, columns["best single cross-fitted"]),
    }
    found = {how: gains(paired(ballots, *side), names, resamples=resamples, seed=seed) for how, side in sides.items()}
    about |= {**made.about, "best_single": best_single(ballots, names)}
    about["gains"] = {how: {name: gain.describe() for name, gain in each.items()} for how, each in found.items()}
    about["calibration"] = calibration(made, ballots)
    about["notes"] = [*notes(found), *told(about["calibration"]), *unfair(ballots)]
    options: Any = {"seed": seed, "resamples": resamples, "beside": beside}
    report = evaluate(Recorded(tasks, made.scores), dict(rows), answers=answers, **options, **about)
    if answers is not None:
        for name, ballot in ballots.items():
            heard = np.stack([ballot.values(ballot.scores[number]) for number in ballot.able])
            own = made.model.config.objective(name)
            scores = [translated(each[name], ballot.objective, own) for each in (made.scores, made.crossfitted)]
            values = ballot.values(made.crossfitted[name])
            fairly = {"fair_scores": scores[1].numpy(), "fair_values": values}
            answers[name] = answers[name]._replace(scores=scores[0].numpy(), members=heard, **fairly)
    report.seconds = made.seconds
    report.examples_per_second = sum(len(ballot.labels) for ballot in ballots.values()) / made.seconds
    return report


def unfair(ballots: Ballots) -> list[str]:
    """Which members no cross-fitting reaches, in a line for each task that has some."""
    return [
        f"Of {name}, what member {', '.join(map(str, ballot.unfair))} chose is not cross-fitted: its folder has no "
        "answers to these rows."
        for name, ballot in ballots.items()
        if ballot.unfair
    ]


def paired(ballots: Ballots, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, Pair]:
    """What two predictors say of each task that both know."""
    return {
        name: Pair(
            ballot.task["metric"],
            ballot.values(ours[name]),
            ballot.values(theirs[name]),
            ballot.labels,
            len(ballot.objective.labels or ()) or None,
        )
        for name, ballot in ballots.items()
        if name in ours and name in theirs
    }


def calibration(made: Made, ballots: Ballots) -> dict[str, dict[str, float]]:
    """The temperature of each task, and the calibration error before it, with it, and with one of the other half's."""
    found = {}
    for name, heat in made.model.config.temperatures.items():
        ballot = ballots[name]
        scores = {"before": made.raw[name], "after": made.scores[name], "cross-fitted": made.crossfitted[name]}
        chances = {when: ballot.objective.answers(each.double()).numpy() for when, each in scores.items()}
        errors = {f"error {when}": calibration_error(each, ballot.labels) for when, each in chances.items()}
        found[name] = {"temperature": heat, **errors}
    return found


def notes(found: Mapping[str, Mapping[str, Gain]]) -> list[str]:
    """What is gained over the best member, in lines."""
    return [
        f"Gain over the best single member, {how}: "
        + ", ".join(f"{name} {gain}" for name, gain in each.items())
        + (f"; the score is no better in {each['score'].doubt:.1%} of the resamples." if "score" in each else ".")
        for how, each in found.items()
        if each
    ]


def told(errors: Mapping[str, Mapping[str, float]]) -> list[str]:
    return [
        f"Calibration of {name}: temperature {each['temperature']:.3f}, expected calibration error "
        f"{each['error before']:.4f} before, {each['error after']:.4f} after it, {each['error cross-fitted']:.4f} "
        "cross-fitted."
        for name, each in errors.items()
    ]


def measured(ballots: Ballots, scores: Mapping[str, Tensor]) -> dict[str, float]:
    """Each task's own metric."""
    return {name: ballots[name].judge(ballots[name].values(found)) for name, found in scores.items()}
