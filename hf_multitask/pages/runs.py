"""The page of a run or an ensemble: what it reached, how it was made, what it does wrong; or of two side by side."""

import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ..assembly.differences import differences
from ..evaluation.answers import Answers, load_answers
from ..evaluation.comparison import Pair, gains
from ..metrics import named
from ..models.objectives import build_objective
from ..plots import (
    agreement,
    can_plot,
    confusion,
    embedded,
    height_map,
    learning_curves,
    map_figure,
    reliability,
    scatter,
    signed,
    task_shares,
)
from ..recipe import read_yaml
from ..report import Report
from .mistakes import mistakes, probabilities
from .page import Part, figures, page, preformatted, rows_table
from .points import Seen, points, points_map

__all__ = ["Shown", "beside_file", "beside_page", "run_page", "run_pictures"]


LIES = '<p id="beside">{} lies in {}.</p>'
"""How a page of two says where the other one lies, by a path from its own folder."""


@dataclass
class Shown:
    """A finished folder, and what else of it is shown: its tasks, dev rows, embeddings and task shares.

    `embeddings` are those of dev rows of each task of single texts with classes.
    """

    folder: Path
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rows: Mapping[str, Dataset] = field(default_factory=dict)
    embeddings: Mapping[str, Seen] = field(default_factory=dict)
    shares: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @cached_property
    def report(self) -> Report:
        return Report.load(self.folder)

    @cached_property
    def answers(self) -> dict[str, Answers]:
        return load_answers(self.folder)

    @property
    def recipe(self) -> str:
        path = self.folder / "recipe.yaml"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    @property
    def state(self) -> dict[str, Any]:
        """What the trainer left of itself; an ensemble has none."""
        path = self.folder / "trainer_state.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @property
    def history(self) -> list[dict[str, float]]:
        return self.state.get("log_history", [])


def run_page(shown: Shown, *, seed: int = 0) -> str:
    """Everything about one run, in one page."""
    report = shown.report
    parts = [Part("Results", results(report))]
    if can_plot() and (pictures := run_pictures(shown, seed=seed)):
        parts.append(Part("Pictures", figures([(said, embedded(picture)) for said, picture in pictures.items()])))
    if found := row_by_row(shown, seed=seed):
        parts.append(Part("Row by row", points_map(found)))
    parts += [
        Part(f"What it is surest of and wrong: {name}", wrong(shown, name))
        for name in shown.answers
        if name in shown.rows
    ]
    about = {name: value for name, value in report.about.items() if name != "notes"}
    parts.append(Part("About", preformatted(json.dumps({**about, "versions": report.versions}, indent=2))))
    parts.append(Part("Configuration", preformatted(shown.recipe)))
    return page(shown.folder.absolute().name, parts, data=report.to_dict())


def results(report: Report) -> str:
    head = ["task", "metric", "rows", "model", "95% interval", *report.beside]
    lines: list[list[Any]] = []
    for name, entry in report.tasks.items():
        bounds = entry.get("ci95")
        span = "" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
        line = [name, entry["metric"], f"{entry['n']:,}", report.values[name], span]
        lines.append([*line, *(column.get(name) for column in report.beside.values())])
    whole = [report.score_of(c) if set(report.counted) <= set(c) else None for c in report.beside.values()]
    lines.append(["score", "", "", report.score, "", *whole])
    return rows_table(head, lines) + preformatted(report.footnote())


def wrong(shown: Shown, name: str) -> str:
    found = mistakes(shown.tasks[name], shown.answers[name], shown.rows[name])
    if not found:
        return "<p>Nothing.</p>"
    sure = "off by" if shown.tasks[name]["metric"] in ("pearson", "spearman") else "probability"
    return rows_table(["text", "said", "true", sure], [[one.text, one.said, one.label, one.sure] for one in found])


def row_by_row(shown: Shown, *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """The points of each task whose dev rows are there; a page shows their texts, which no picture does."""
    return {
        name: points(shown.tasks[name], said, shown.rows[name], shown.embeddings.get(name), seed=seed)
        for name, said in shown.answers.items()
        if name in shown.rows
    }


def run_pictures(shown: Shown, *, seed: int = 0) -> dict[str, Any]:
    """Pictures by what they show: figures that are drawn here, and the PNG files that the run left."""
    found: dict[str, Any] = {}
    metrics = {name: entry["metric"] for name, entry in shown.report.tasks.items()}
    # A first stage logs no curve of a task.
    curves = {f"loss_{name}" for name in metrics} | {f"eval_{name}_{metric}" for name, metric in metrics.items()}
    if any(curves & entry.keys() for entry in shown.history):
        found["learning curves"] = learning_curves(shown.history, metrics)
    if shown.shares:
        found["task probabilities"] = task_shares(shown.shares)
    for name in shown.answers:
        found |= judged(shown, name)
    for name, seen in shown.embeddings.items():
        # One point has no place beside others.
        if len(seen.rows) > 1:
            found |= mapped(shown, name, seen, seed=seed)
    # Once it is taken from its page, a picture alone says whose it is.
    whose = f"{shown.folder.absolute().name}, seed {shown.report.seed}"
    found = {said: signed(figure, whose) for said, figure in found.items()}
    return found | {path.stem: path for path in sorted(shown.folder.glob("*.png"))}


def judged(shown: Shown, name: str) -> dict[str, Any]:
    """Pictures of the answers to one task."""
    found: dict[str, Any] = {}
    said, entry = shown.answers[name], shown.report.tasks[name]
    what = f"{name} on {entry['split']}"
    if "confusion" in entry:
        found[f"{name}: confusion"] = confusion(entry["confusion"], entry["labels"], title=what)
        if name in shown.tasks:
            chances = probabilities(shown.tasks[name], said)
            found[f"{name}: reliability"] = reliability(chances, said.labels, title=f"{what}: reliability")
    else:
        space = build_objective(shown.tasks[name]["objective"]).space if name in shown.tasks else np.sort(said.labels)
        low, high = float(space[0]), float(space[-1])
        found[f"{name}: scatter"] = scatter(said.values, said.labels, title=what, low=low, high=high)
    members = [Path(member).name for member in shown.report.about.get("members", ())]
    if said.members is not None and 1 < len(said.members) == len(members):
        title, numbers = f"{what}: member agreement", "confusion" not in entry
        found[f"{name}: member agreement"] = agreement(said.members, members, title=title, numbers=numbers)
    return found


def mapped(shown: Shown, name: str, seen: Seen, *, seed: int) -> dict[str, Any]:
    """Pictures of the embeddings of one task's texts."""
    said, entry = shown.answers[name], shown.report.tasks[name]
    labels, values = said.labels[seen.rows].tolist(), said.values[seen.rows].tolist()
    names, what = entry["labels"], f"{name} on {entry['split']}: embeddings"
    rows = {f"{what} by label": seen.vectors}
    found = {f"{name}: {by}": map_figure(rows, labels, names, by=by, seed=seed) for by in ("t-SNE", "PCA")}
    title, height = f"{what} and predictions", "predicted label"
    return found | {f"{name}: heights": height_map(seen.vectors, values, title=title, height=height, names=names)}


def beside_page(one: Shown, other: Shown, *, seed: int = 0) -> str:
    """Two runs side by side: their results, what differs in how they were made, and where only one is right."""
    names = told_apart(one.folder, other.folder)
    pairs = {
        name: Pair.of(entry, one.answers[name].fair, other.answers[name].fair, one.answers[name].labels)
        for name, entry in one.report.tasks.items()
        if alike(one, other, name)
    }
    if not pairs:
        raise ValueError(f"{names[0]} and {names[1]} have answered no rows in common, so that they cannot be compared.")
    found = gains(pairs, one.report.counted, seed=seed)
    # By one's metrics on both sides, whatever the other is judged by.
    sides = [reached(shown, pairs) for shown in (one, other)]
    lines = [[name, *(values[name] for values in sides), str(found[name])] for name in pairs]
    if pairs.keys() >= set(one.report.counted):
        scores = [one.report.score_of(values) for values in sides]
        lines.append(["score", *scores, str(found["score"])])
    chose = any(shown.answers[name].fair_values is not None for shown in (one, other) for name in pairs)
    gain = "gain, cross-fitted, 95% interval" if chose else "gain, 95% interval"
    place = LIES.format(html.escape(names[1]), html.escape(between(one.folder, other.folder)))
    parts = [Part("Results", rows_table(["task", *names, gain], lines) + place)]
    parts.append(Part("What differs in the configuration", differing(one, other, names)))
    if can_plot():
        both = [
            (f"{called}, {said}", embedded(picture))
            for called, shown in zip(names, (one, other), strict=True)
            for said, picture in run_pictures(shown, seed=seed).items()
        ]
        parts.append(Part("Pictures", figures(sorted(both, key=lambda picture: picture[0].partition(", ")[2]))))
    for name in (name for name in pairs if name in one.rows and name in one.tasks and name in other.tasks):
        wrong, right = ("wrong", "right") if one.report.tasks[name].get("labels") else ("further off", "nearer")
        for (better, called), (worse, theirs) in permutations(zip((one, other), names, strict=True)):
            title = f"Where {theirs} is {wrong} and {called} is {right}: {name}"
            parts.append(Part(title, disputed(better, worse, name, one.rows[name])))
    data = {called: shown.report.to_dict() for called, shown in zip(names, (one, other), strict=True)}
    return page(f"{names[0]} beside {names[1]}", parts, data=data)


def told_apart(one: Path, other: Path) -> list[str]:
    """What two folders are called: by their names, or with as much of their places as it takes.

    >>> told_apart(Path("outputs/methods/plain-0"), Path("outputs/members/plain-0"))
    ['methods/plain-0', 'members/plain-0']
    """
    places = [folder.absolute().parts for folder in (one, other)]
    most = max(map(len, places))
    depth = next((n for n in range(1, most) if places[0][-n:] != places[1][-n:]), 1)
    return ["/".join(parts[-depth:]) for parts in places]


def beside_file(one: Path, other: Path) -> str:
    """The name of the page of two: by what the other is called, and no page of another one that is called so.

    >>> beside_file(Path("outputs/pal"), Path("outputs/plain"))
    'beside-plain.html'
    >>> beside_file(Path("outputs/methods/plain-0"), Path("outputs/members/plain-0"))
    'beside-members-plain-0.html'
    """
    parts, least = other.absolute().parts, told_apart(one, other)[1].count("/") + 1
    names = [f"beside-{'-'.join(parts[-depth:])}.html" for depth in range(least, len(parts))]
    return next((name for name in names if not of_another(one / name, one, other)), names[-1])


def of_another(path: Path, one: Path, other: Path) -> bool:
    """Whether a page is there that says it is of another than this."""
    found = re.search(LIES.format(".*?", "(.*?)"), path.read_text(encoding="utf-8")) if path.is_file() else None
    return found is not None and html.unescape(found[1]) != between(one, other)


def between(one: Path, other: Path) -> str:
    """The path from one folder to another."""
    return Path(os.path.relpath(other, one)).as_posix()


def alike(one: Shown, other: Shown, name: str) -> bool:
    mine, theirs = one.answers.get(name), other.answers.get(name)
    return mine is not None and theirs is not None and np.array_equal(mine.labels, theirs.labels)


def reached(shown: Shown, pairs: Mapping[str, Pair]) -> dict[str, float]:
    """What a run's own answers to each task reach by the metric of the pair."""
    return {
        name: named(pair.metric).measure(shown.answers[name].values, pair.labels, classes=pair.classes)
        for name, pair in pairs.items()
    }


def differing(one: Shown, other: Shown, names: Sequence[str]) -> str:
    """The settings that are not the same, with both values; where two runs lie is none of them."""
    mine, theirs = ({**(read_yaml(shown.folder / "recipe.yaml") or {}), "output_dir": None} for shown in (one, other))
    found = [[setting, *map(spelled, values)] for setting, *values in differences(mine, theirs)]
    return rows_table(["setting", *names], found) if found else "<p>Nothing.</p>"


def spelled(value: Any) -> str:
    """A setting's value as a recipe may say it; nothing where it is not set."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def disputed(better: Shown, worse: Shown, name: str, rows: Dataset, *, most: int = 10) -> str:
    """The answers of the worse of two that the other betters, those that it is surest of, or furthest off, first."""
    ours, theirs = better.answers[name], worse.answers[name]
    if better.report.tasks[name].get("labels"):
        closer, sure = ours.values == ours.labels, "probability"
    else:
        closer, sure = np.abs(ours.values - ours.labels) < np.abs(theirs.values - ours.labels), "off by"
    found = mistakes(worse.tasks[name], theirs, rows, most=len(ours.labels))
    lines = [[it.text, it.said, it.label, it.sure] for it in found if closer[it.row]][:most]
    return rows_table(["text", "said", "true", sure], lines) if lines else "<p>Nowhere.</p>"
