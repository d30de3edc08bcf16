"""Rows as points that can be looked at one by one: where a model sees them, and how it answers them."""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset

from ..evaluation.answers import Answers
from ..models.objectives import build_objective
from ..plots.maps import placed
from .mistakes import probabilities

__all__ = ["ANSWERS", "MOST", "Seen", "chosen", "points", "points_map"]

MOST = 500
"""Most points of a task: a browser draws each, and its text stands in the page."""

LONG = 300
"""How many characters of a text are shown."""

ANSWERS = "answers beside labels"

SCRIPT = Path(__file__).with_name("points.js")

VIRIDIS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#c2df23")
"""Colours of matplotlib's viridis without its lightest, as the pictures have labels: graded, and told apart by all."""

GOLDEN = (5**0.5 - 1) / 2


class Seen(NamedTuple):
    """The numbers [n] of those rows that a model embedded, in order, and the vectors [n, width] of their texts."""

    rows: np.ndarray
    vectors: np.ndarray


def chosen(count: int, most: int, *, seed: int = 0) -> np.ndarray:
    """The numbers of all rows, or of `most` that are drawn: the first ones of a sorted split are of one class.

    >>> chosen(3, 5), len(chosen(100, 5))
    (array([0, 1, 2]), 5)
    """
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def points(
    task: Mapping[str, Any], said: Answers, rows: Dataset, seen: Seen | None = None, *, seed: int = 0
) -> dict[str, Any]:
    """What a map shows of a task: its labels with their colours, its points, and where these lie.

    `maps` has places [n, 2] of the points: by PCA and t-SNE where texts are embedded, as the pictures have them, and
    always those of the answers beside the labels. `rows` says of each point its texts, its label, what is predicted,
    and the probability of that, or how far a number is off. More than `MOST` are drawn by the seed, of rows that are
    embedded where some are.
    """
    objective = build_objective(dict(task["objective"]))
    names = None if objective.labels is None else list(objective.labels)
    maps: dict[str, dict[str, Any]] = {}
    of = len(said.labels)
    shown = chosen(of, MOST, seed=seed)
    # One point has no place beside others.
    if seen is not None and len(seen.rows) > 1:
        among = chosen(len(seen.rows), MOST, seed=seed)
        shown = seen.rows[among]
        for by in ("PCA", "t-SNE"):
            places, axes = placed(np.asarray(seen.vectors), by=by, seed=seed)
            maps[by] = {"axes": axes, "places": places[among]}
    if names is None:
        sure = np.abs(said.values - said.labels)
        answers = of_numbers(said, [float(edge) for edge in objective.space])
    else:
        sure = probabilities(task, said).max(1)
        answers = of_classes(said, sure, names)
    maps[ANSWERS] = {**answers, "places": answers["places"][shown]}
    for each in maps.values():
        each["places"] = [[short(value) for value in place] for place in each["places"]]
    parts = ("first", "second") if task["pair"] else ("first",)
    listed = [
        {
            "texts": [cut(str(rows[row][part])) for part in parts],
            "true": short(said.labels[row]),
            "said": short(said.values[row]),
            "sure": short(sure[row]),
        }
        for row in shown.tolist()
    ]
    return {"of": of, "labels": names, "colours": shades(names or [""]), "maps": maps, "rows": listed}


def of_numbers(said: Answers, space: Sequence[float]) -> dict[str, Any]:
    """Predicted numbers over the true ones."""
    places = np.stack([said.labels, said.values], 1)
    return {"axes": ["true value", "predicted value"], "spans": [space, space], "equal": True, "places": places}


def of_classes(said: Answers, sure: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """The probability of what is predicted over the true label."""
    # Each label has a strip, over which its rows are spread evenly: else they would hide each other.
    strip = (np.arange(len(said.labels)) * GOLDEN % 1 - 0.5) * 0.8
    axes = ["true label", "probability of the predicted label"]
    spans = [[-0.5, len(names) - 0.5], [0.0, 1.0]]
    return {"axes": axes, "spans": spans, "names": list(names), "places": np.stack([said.labels + strip, sure], 1)}


def shades(names: Sequence[str]) -> list[str]:
    """A colour for each label, from dark to light.

    >>> shades(["no", "yes"])
    ['#440154', '#c2df23']
    """
    known = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in VIRIDIS])
    at, marks = np.linspace(0, 1, len(names)), np.linspace(0, 1, len(known))
    channels = np.stack([np.interp(at, marks, channel) for channel in known.T], 1)
    return ["#" + "".join(f"{round(value):02x}" for value in colour) for colour in channels]


def short(value: Any) -> float:
    """A number of four digits; a whole one without a point."""
    number = float(f"{value:.4g}")
    return int(number) if number.is_integer() else number


def cut(text: str) -> str:
    return text if len(text) <= LONG else f"{text[:LONG]} .."


def points_map(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The map of several tasks' points as HTML, with what draws it; the points are JSON, under the id "points"."""
    # A text in JSON may hold what ends a script.
    content = json.dumps(found, separators=(",", ":")).replace("<", "\\u003c")
    choices = "".join(
        f'<label>{said} <select id="points-{name}">{options}</select></label>\n'
        for name, said, options in (
            ("task", "task", "".join(f"<option>{html.escape(task)}</option>" for task in found)),
            ("map", "map", ""),
            ("which", "rows", '<option value="all">all rows</option><option value="wrong">mistakes only</option>'),
        )
    )
    return (
        f'<div class="points"><p>{choices}<span id="points-count"></span></p>\n'
        '<p id="points-legend"></p>\n<div class="sides"><svg id="points-drawn" viewBox="0 0 720 540" role="group" '
        'aria-label="A point for each row. Arrow keys lead from one to the next."></svg>\n'
        '<div id="points-said" aria-live="polite">A point that is pointed at, clicked or reached by the arrow keys '
        "says here which row it is.</div></div>\n<noscript>Without scripts this map is empty.</noscript></div>\n"
        f'<script type="application/json" id="points">{content}</script>\n'
        f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>"
    )
