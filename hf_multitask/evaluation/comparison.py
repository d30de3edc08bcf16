"""Whether one set of predictions is really better than another: the paired bootstrap."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t as student

from ..metrics import BATCH, named

__all__ = ["Gain", "Pair", "gains"]


class Pair(NamedTuple):
    """Two predictions [n] for the same labels [n] of a task; `classes` is how many label ids there are.

    Of several seeds there are as many predictions [seeds, n] of each side, paired by seed.
    """

    metric: str
    ours: np.ndarray
    theirs: np.ndarray
    labels: np.ndarray
    classes: int | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any], ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray) -> "Pair":
        """Two predictions of the task that a report's `entry` is about."""
        return cls(entry["metric"], ours, theirs, labels, len(entry.get("labels", ())) or None)


class Gain(NamedTuple):
    """By how much ours is better, its 95% interval, and in which share of the resamples it is not better at all."""

    gain: float
    ci95: tuple[float, float]
    doubt: float

    def describe(self) -> dict[str, Any]:
        return {"gain": self.gain, "ci95": list(self.ci95), "doubt": self.doubt}

    def __str__(self) -> str:
        # Adding zero makes a positive one of a negative one.
        gain, low, high = (round(value, 4) + 0.0 for value in (self.gain, *self.ci95))
        return f"{gain:+.4f} ({low:+.4f} to {high:+.4f})"


def gains(
    pairs: Mapping[str, Pair], counted: Sequence[str] = (), *, resamples: int = 1000, seed: int = 0
) -> dict[str, Gain]:
    """The gain on each task in its own metric, and as `score` that of the mean of the `counted` tasks (or of all).

    Without one of the counted tasks there is no such mean, and without tasks no gain.

    The same rows are drawn for both predictions of a task, so that what is hard for both does not blur the difference.
    Of several seeds the gain is the mean, and how far that is from the mean of all seeds is drawn from Student's t: two
    seeds tell little of others, and one alone nothing, so that its interval is of the rows only.
    """
    if not pairs:
        return {}
    (count,) = {len(np.atleast_2d(side)) for pair in pairs.values() for side in (pair.ours, pair.theirs)}
    found, whole, wholes = {}, np.zeros(count), np.zeros(resamples)
    unknown = students(count, resamples, seed)
    among = list(counted or pairs)
    for place, (name, pair) in enumerate(pairs.items()):
        metric = named(pair.metric)
        sides = [np.atleast_2d(side) for side in (pair.ours, pair.theirs)]
        measured = [
            np.array([metric.measure(each, pair.labels, classes=pair.classes) for each in side]) for side in sides
        ]
        # Tasks are drawn apart, and all predictions of a task together.
        ours, theirs = (
            np.mean([resampled(pair, each, resamples, [seed, place]) for each in side], axis=0) for side in sides
        )
        found[name] = judged(measured[0] - measured[1], ours - theirs, unknown)
        if name in among:
            # A metric's scale is straight, so that differences keep their meaning on it.
            scale = metric.unit(1.0) - metric.unit(0.0)
            whole += scale * (measured[0] - measured[1]) / len(among)
            wholes += scale * (ours - theirs) / len(among)
    return {**found, "score": judged(whole, wholes, unknown)} if set(among) <= pairs.keys() else found


def resampled(pair: Pair, predictions: np.ndarray, resamples: int, seed: Sequence[int]) -> np.ndarray:
    """The metric of each resample [resamples], drawn by the seed alone."""
    of_rows = named(pair.metric).resampled(predictions, pair.labels, classes=pair.classes)
    draw, n = np.random.default_rng(seed), len(pair.labels)
    step = max(1, BATCH // n)
    counts = [min(step, resamples - begun) for begun in range(0, resamples, step)]
    return np.concatenate([of_rows(draw.integers(0, n, (count, n))) for count in counts])


def students(count: int, resamples: int, seed: int) -> np.ndarray:
    """For each resample, by how many of its standard errors the mean of `count` seeds may be off: evenly spread."""
    if count == 1:
        return np.zeros(resamples)
    shares = (np.random.default_rng(seed).permutation(resamples) + 0.5) / resamples
    return student.ppf(shares, count - 1)


def judged(seeds: np.ndarray, rows: np.ndarray, unknown: np.ndarray) -> Gain:
    """From the gain of each seed, the mean gain of each resample of rows, and what is unknown of other seeds."""
    error = seeds.std(ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else 0.0
    differences = rows + error * unknown
    low, high = np.quantile(differences, [0.025, 0.975])
    return Gain(float(seeds.mean()), (float(low), float(high)), float((differences <= 0).mean()))
