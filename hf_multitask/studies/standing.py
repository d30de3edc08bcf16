"""What was published beside what runs reached, row by row."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import mean
from typing import Any, Literal

import numpy as np

from ..evaluation.answers import Answers, load_answers
from ..evaluation.comparison import Gain, Pair, gains
from ..metrics import unit_score
from ..report import Report, aligned
from .runs import Run, shown, spread

__all__ = ["CORE", "Published", "Standing", "score_of", "standings", "table"]

CORE = ("sst", "qqp", "sts")
NUMBERS = (*CORE, "cfimdb", "score", "speed")
"""What a paper's row may hold."""
OURS = "not in the paper"
MODELS = ("train", "ensemble")
"""Scripts that make a model which is judged like any."""

logger = logging.getLogger(__name__)


@dataclass
class Published:
    """A row of a published table: where it stands, what is in it, and the run that does the same here.

    >>> Published("Baseline", "Table 7, row 1", sst=0.5, qqp=0.88, sts=0.7).score_by("r")
    0.7433333333333333
    """

    row: str = field(metadata={"help": "What they call it"})
    at: str = field(metadata={"help": "Where it stands in the paper"})
    run: str | None = field(default=None, metadata={"help": "The run here; null: none"})
    split: str = field(default="dev", metadata={"help": "The rows that they judge it by"})
    against: str | None = field(
        default=None, metadata={"help": "The run that ours is compared with; null: the study's reference"}
    )
    by: Literal["score", "sst", "qqp", "sts", "cfimdb"] = field(
        default="score",
        metadata={"help": "What it is compared in: the score, or a task where nothing else was trained"},
    )
    sst: float | None = field(default=None, metadata={"help": "Accuracy"})
    qqp: float | None = field(default=None, metadata={"help": "Accuracy"})
    sts: float | None = field(default=None, metadata={"help": "Correlation, as they print it"})
    cfimdb: float | None = field(default=None, metadata={"help": "Accuracy"})
    score: float | None = field(default=None, metadata={"help": "Their mean, where it is the mean of DESIGN's kind"})
    speed: float | None = field(default=None, metadata={"help": "Iterations a second"})

    def numbers(self, sts: str) -> dict[str, float]:
        """What is given, a correlation as r; `sts` says whether they print r or the unit scale."""
        found = {name: value for name in NUMBERS if (value := vars(self)[name]) is not None}
        if "sts" in found and sts == "unit":
            found["sts"] = 2 * found["sts"] - 1
        if "score" not in found and set(CORE) <= set(found):
            found["score"] = self.score_by(sts)
        return found

    def score_by(self, sts: str) -> float:
        """The mean of the three tasks on one scale."""
        found = {name: float(vars(self)[name]) for name in CORE}
        return mean([found["sst"], found["qqp"], found["sts"] if sts == "unit" else (found["sts"] + 1) / 2])


@dataclass(frozen=True)
class Standing:
    """A row of the table: theirs beside ours, as mean and deviation over the seeds, and the gain over a reference.

    `interval` is that of what the row is compared in. `seeds` are those of the row, and `shared` those that the gain is
    of. `crossfitted` is what an ensemble reaches in that when it answers each half of the rows by what the other half
    chose; its gain is of these answers.
    """

    row: Published
    theirs: dict[str, float]
    ours: dict[str, tuple[float, float | None]]
    interval: tuple[float, float] | None = None
    gain: Gain | None = None
    seeds: tuple[int, ...] = ()
    shared: tuple[int, ...] = ()
    crossfitted: tuple[float, float | None] | None = None

    def describe(self) -> dict[str, Any]:
        row = {part.name: vars(self.row)[part.name] for part in fields(self.row) if part.name not in NUMBERS}
        content = {**row, "published": self.theirs, "seeds": list(self.seeds), "gain_seeds": list(self.shared)}
        content["ours"] = {name: {"mean": m, "deviation": d} for name, (m, d) in self.ours.items()}
        content["ci95"] = None if self.interval is None else list(self.interval)
        fair = self.crossfitted
        content["crossfitted"] = None if fair is None else {"mean": fair[0], "deviation": fair[1]}
        content["gain"] = None if self.gain is None else {**self.gain.describe(), "noise": noise(self.gain)}
        return content


def standings(
    rows: Sequence[Published], runs: Sequence[Run], *, reference: str | None = None, sts: str = "r"
) -> list[Standing]:
    """The rows as published, with ours; runs that no row names come after them."""
    named = {row.run for row in rows}
    extra = [run.name for run in runs if run.name not in named and run.script.stem == "train"]
    extra += [run.name for run in runs if run.name not in named and run.script.stem == "ensemble"]
    every = [*rows, *(Published(name, OURS, name) for name in dict.fromkeys(extra))]
    finished = {
        name: {run.seed: run for run in runs if run.name == name and run.finished}
        for name in dict.fromkeys(run.name for run in runs)
    }
    said = {name: {seed: answers_of(run) for seed, run in own.items()} for name, own in finished.items()}
    models = {name: own for name, own in finished.items() if any(run.script.stem in MODELS for run in own.values())}
    judged = CORE if rows else tasks_of(models.get(reference or "") or next(iter(models.values()), {}))
    return [
        standing(row, row.numbers(sts), finished.get(row.run or "", {}), said, row.against or reference, judged)
        for row in every
    ]


def answers_of(run: Run) -> dict[str, Answers]:
    """What a finished run left; nothing of an ensemble that does not tell what it says cross-fitted."""
    said = load_answers(run.folder)
    if run.script.stem == "ensemble" and any(one.fair_values is None for one in said.values()):
        logger.warning("%s does not say what it answers cross-fitted. Remove it, and it is made anew.", run.folder)
        return {}
    return said


def tasks_of(runs: Mapping[int, Run]) -> tuple[str, ...]:
    """The tasks that a run's score is of, by which others are compared with it; a paper's where nothing says it."""
    return next((tuple(Report.load(run.folder).counted) for run in runs.values()), CORE)


def standing(
    row: Published,
    theirs: dict[str, float],
    runs: Mapping[int, Run],
    every: Mapping[str, Mapping[int, dict[str, Answers]]],
    reference: str | None,
    judged: Sequence[str],
) -> Standing:
    """A row, whose score is the mean of the tasks that it is `judged` by."""
    said, base = every.get(row.run or "", {}), every.get(reference or "", {})
    reports = {seed: Report.load(run.folder) for seed, run in runs.items()}
    ours = {}
    for name in dict.fromkeys(
        [*judged, *(name for report in reports.values() for name in report.tasks), "score", "speed"]
    ):
        if values := [found for report in reports.values() if (found := number(report, name, judged)) is not None]:
            ours[name] = spread(values)
    counted = judged if row.by == "score" else [row.by]
    fitted = [found for report in reports.values() if (found := crossfitted(report, row.by, judged)) is not None]
    seeds = comparable(said, said, counted)
    span = span_of(pairs(said, None, reports[seeds[0]], seeds, counted), row.by) if seeds else None
    shared = comparable(said, base, counted) if row.run != reference else ()
    gain = gains(pairs(said, base, reports[shared[0]], shared, counted), counted)[row.by] if shared else None
    return Standing(row, theirs, ours, span, gain, tuple(reports), shared, spread(fitted) if fitted else None)


def span_of(alone: Mapping[str, Pair], by: str) -> tuple[float, float]:
    """The interval of a score or of a task's metric, within what it can be, from pairs with what scores nothing."""
    low, high = gains(alone, list(alone))[by].ci95
    # What a metric of nothing is worth, which a gain over what scores nothing lacks.
    nothing = mean(unit_score(pair.metric, 0.0) for pair in alone.values())
    if by == "score":
        return max(low + nothing, 0.0), min(high + nothing, 1.0)
    return max(low, -nothing / (1.0 - nothing)), min(high, 1.0)


def comparable(
    ours: Mapping[int, dict[str, Answers]], theirs: Mapping[int, dict[str, Answers]], tasks: Sequence[str]
) -> tuple[int, ...]:
    """The seeds in which both sides have answered the same rows of the tasks, the rows of the first such seed."""
    found: list[int] = []
    for seed in ours:
        sides = [ours[seed], theirs.get(seed, {})]
        if all(set(tasks) <= set(side) for side in sides):
            judged = ours[found[0]] if found else ours[seed]
            if all(np.array_equal(judged[name].labels, side[name].labels) for side in sides for name in tasks):
                found.append(seed)
    return tuple(found)


def score_of(report: Report, tasks: Sequence[str] = CORE, values: Mapping[str, float] | None = None) -> float:
    """The mean of some tasks, whatever else the run is judged by; of other `values` than what it reached."""
    reached = report.values if values is None else values
    return mean(unit_score(report.tasks[name]["metric"], reached[name]) for name in tasks)


def crossfitted(report: Report, by: str, judged: Sequence[str]) -> float | None:
    """What an ensemble reaches cross-fitted in what its row is compared in."""
    values = report.beside.get("cross-fitted", {})
    if by != "score":
        return values.get(by)
    return score_of(report, judged, values) if set(judged) <= set(values) else None


def number(report: Report, name: str, judged: Sequence[str]) -> float | None:
    if name == "score":
        return score_of(report, judged) if set(judged) <= set(report.tasks) else None
    return report.about.get("steps_per_second") if name == "speed" else report.values.get(name)


def pairs(
    ours: Mapping[int, dict[str, Answers]],
    theirs: Mapping[int, dict[str, Answers]] | None,
    report: Report,
    seeds: Sequence[int],
    tasks: Sequence[str],
) -> dict[str, Pair]:
    """The answers of both sides to the same rows of the tasks; without the other, beside what scores nothing."""
    found = {}
    for name in tasks:
        entry, labels = report.tasks[name], ours[seeds[0]][name].labels
        mine = np.stack([(ours[seed][name].values if theirs is None else ours[seed][name].fair) for seed in seeds])
        other = np.full_like(mine, -1) if theirs is None else np.stack([theirs[seed][name].fair for seed in seeds])
        found[name] = Pair.of(entry, mine, other, labels)
    return found


def noise(gain: Gain) -> bool:
    """Whether the interval of a gain holds zero: then it may be chance."""
    return gain.ci95[0] <= 0 <= gain.ci95[1]


def table(found: Sequence[Standing], *, reference: str | None = None, seeds: Sequence[int] = ()) -> str:
    """The rows as Markdown: ours, and beside it theirs where anything was published.

    Who lacks some of the `seeds` of the study, or of those that others have, is marked.

    >>> row = Published("Baseline", "Table 7", "plain", sst=0.5)
    >>> print(table([Standing(row, {"sst": 0.5}, {"sst": (0.48, 0.01)})]))
    | row      | place   |           sst | theirs |
    | -------- | ------- | ------------: | -----: |
    | Baseline | Table 7 | 0.480 ± 0.010 |  0.500 |
    """
    every = {*seeds, *(seed for one in found for seed in one.seeds)}
    columns = columns_of(found)
    compared = any(one.gain for one in found)
    spanned = any(one.interval for one in found) or "score" in columns
    fitted = any(one.crossfitted for one in found)
    paper = any(one.row.at != OURS for one in found)
    head = ["row", "place"] if paper else ["row"]
    # Where nobody has a score they stand behind the tasks.
    judged = next((name for name in reversed(columns) if name != "speed"), None)
    for name in columns:
        beside = paper and name in NUMBERS
        head += ["it/s" if name == "speed" else name, *(["theirs"] if beside else [])]
        head += ["95% interval", *(["cross-fitted"] if fitted else [])] if spanned and name == judged else []
    gained = f"against {reference}" if reference else "gain"
    lines = [[*head, *([gained, "inside the noise"] if compared else [])]]
    for one in found:
        place = one.row.at if one.row.split == "dev" else f"{one.row.at} ({one.row.split})"
        line = [one.row.row + of_seeds(one.seeds, every), *([place] if paper else [])]
        for name in columns:
            line += [shown(one.ours.get(name)), *([theirs(one, name)] if paper and name in NUMBERS else [])]
            if spanned and name == judged:
                line.append("" if one.interval is None else within(one.row.by, *one.interval))
                line += [shown(one.crossfitted) + (of_task(one.row.by) if one.crossfitted else "")] if fitted else []
        if compared:
            said = [compared_to(one.row, one.gain) + of_seeds(one.shared, every)] if one.gain else [""]
            line += [*said, ("yes" if noise(one.gain) else "no") if one.gain else ""]
        lines.append(line)
    return aligned(lines, words=2 if paper else 1)


def columns_of(found: Sequence[Standing]) -> list[str]:
    """What any row has a number of: a paper's tasks, those that runs have besides, then score and speed."""
    names = dict.fromkeys([*NUMBERS[:-2], *(name for one in found for name in one.ours), *NUMBERS[-2:]])
    tasks = [name for name in names if name not in NUMBERS[-2:]]
    return [n for n in [*tasks, *NUMBERS[-2:]] if any(n in one.ours or n in one.theirs for one in found)]


def within(by: str, low: float, high: float) -> str:
    """An interval in words, with what it is of where that is not the score."""
    return f"{low:.3f} to {high:.3f}{of_task(by)}"


def of_task(by: str) -> str:
    return "" if by == "score" else f" in {by}"


def compared_to(row: Published, gain: Gain) -> str:
    """A gain in words, with what it is counted in and over whom where that is not the score and the reference."""
    over = f", against {row.against}" if row.against else ""
    return f"{gain}{of_task(row.by)}{over}"


def of_seeds(seeds: Sequence[int], every: Collection[int]) -> str:
    """Which seeds they are, where they are not all.

    >>> of_seeds([0, 2], {0, 1, 2})
    ' (seeds 0, 2)'
    """
    if not seeds or set(seeds) == set(every):
        return ""
    return f" (seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))})"


def theirs(one: Standing, name: str) -> str:
    if name in one.theirs:
        return f"{one.theirs[name]:.3f}"
    return "" if one.row.at == OURS or name in ("speed", "cfimdb") else "not given"
