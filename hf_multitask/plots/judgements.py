"""Pictures of answers beside labels."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from .canvas import COLOURS, INCHES, SMALL, canvas, ink, key, plain, titled

__all__ = ["agreement", "confusion", "reliability", "scatter"]

BINS = 15

FEW, SHARE = 10, 0.01
"""A bin of fewer answers, or of a smaller share of them all, says little of how often such answers are right."""

NUMBERED = 12
"""Members or classes of which a picture has the numbers too."""

COLUMN = 6
"""Classes whose numbers have room in a column of a paper; of more the picture is larger."""

NAMED = 20
"""Classes of which each has its name at an axis; of more every second or third one has."""

BESIDE = 35
"""Letters in a line of a title above a panel that has long names to its left: some of an agreement's are longer."""

STEP = 0.05
"""The scale of an agreement starts at a multiple of this."""


def confusion(counts: Sequence[Sequence[int]], names: Sequence[str], *, title: str) -> Any:
    """A confusion matrix [true][predicted], as counts and as shares of each true class.

    Of many classes there are no numbers, but colours and what they mean.
    """
    matrix = np.asarray(counts)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    classes, every = len(names), ceil(len(names) / NAMED)
    told = [plain(name) for name in names[::every]]
    larger = min(max(1.0, classes / COLUMN), NUMBERED / COLUMN)
    figure, panels = canvas(rows=2, wide=INCHES * larger, high=(INCHES - 0.4) * larger)
    for panel, values, said in zip(panels, (matrix, shares), ("rows", "share of the true class"), strict=True):
        image = panel.imshow(values, cmap="cividis", vmin=0, vmax=values.max() or 1)
        for (true, given), value in np.ndenumerate(values) if classes <= NUMBERED else ():
            text = f"{value:,}" if values is matrix else f"{value:.2f}"
            colour = ink(image.cmap(image.norm(value)))
            panel.text(given, true, text, ha="center", va="center", color=colour, fontsize=SMALL)
        if classes > NUMBERED:
            figure.colorbar(image, ax=panel).ax.tick_params(labelsize=SMALL)
        places = {"xticks": range(0, classes, every), "yticks": range(0, classes, every)}
        titled(panel, f"{title}: {said}", most=BESIDE, xlabel="predicted", ylabel="true", **places)
        panel.set_xticklabels(told, rotation=30, ha="right", rotation_mode="anchor")
        panel.set_yticklabels(told)
    return figure


def scatter(values: np.ndarray, labels: np.ndarray, *, title: str, low: float, high: float) -> Any:
    """Predicted numbers over the true ones, with the line on which both are equal."""
    figure, (panel,) = canvas()
    panel.plot([low, high], [low, high], color=COLOURS[6], linewidth=1, label="equal")
    panel.scatter(labels, values, s=8, color=COLOURS[0], alpha=0.4, linewidths=0, label="a pair")
    titled(panel, title, xlabel=f"true value ({low:g} to {high:g})", ylabel="predicted value")
    key(panel)
    return figure


def reliability(probabilities: np.ndarray, labels: np.ndarray, *, title: str) -> Any:
    """How often answers [n, classes] are right, by how sure they are; below, how many are so sure.

    Bins of few answers are hollow, and no line goes through them.
    """
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    places = bins_of(sure)
    counts = np.bincount(places, minlength=BINS)
    filled = counts > 0
    said, hit = (np.bincount(places, weights=each, minlength=BINS)[filled] / counts[filled] for each in (sure, right))
    few = counts[filled] < max(FEW, SHARE * counts.sum())
    figure, (panel,) = canvas()
    middle, shares = (np.arange(BINS) + 0.5) / BINS, counts / counts.sum()
    panel.bar(middle, shares, width=0.9 / BINS, color=COLOURS[5], label="share of the answers")
    panel.plot([0, 1], [0, 1], color=COLOURS[6], linewidth=1, linestyle="--", label="as sure as right")
    # Points at the frame are whole.
    style = {"marker": "o", "markersize": 4, "color": COLOURS[1], "clip_on": False, "zorder": 3}
    label = "share that is right"
    if not few.all():
        panel.plot(said[~few], hit[~few], label=label, **style)
    if few.any():
        of = f"{label}, of under {FEW} answers or {SHARE:.0%} of all"
        panel.plot(said[few], hit[few], linestyle="none", markerfacecolor="white", label=of, **style)
    titled(panel, title, xlabel="probability of the answer", ylabel="share", xlim=(0, 1), ylim=(0, 1))
    key(panel, columns=1)
    return figure


def bins_of(sure: np.ndarray, bins: int = BINS) -> np.ndarray:
    """The bin of each probability, of equal width, open below and closed above (Guo et al., 2017).

    >>> bins_of(np.array([0.0, 0.6, 0.61]), 5)
    array([0, 2, 3])
    """
    return np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)


def agreement(said: np.ndarray, names: Sequence[str], *, title: str, numbers: bool) -> Any:
    """Of answers [members, n] how far each two agree: the share of equal labels, or the correlation of numbers."""
    members = len(said)
    if numbers:
        spread = said - said.mean(1, keepdims=True)
        norms = np.sqrt((spread**2).sum(1))
        table = spread @ spread.T / np.maximum(np.outer(norms, norms), np.finfo(float).tiny)
    else:
        table = (said[:, None] == said[None]).mean(-1)
    # Each with itself agrees wholly, beside which the differences between the others would not be seen.
    others = table[~np.eye(members, dtype=bool)]
    low = min(np.floor(round(others.min(initial=1.0) / STEP, 6)) * STEP, 1 - STEP)
    wide = INCHES * max(1.0, members / (1.5 * NUMBERED))
    figure, (panel,) = canvas(wide=wide, high=1.35 * wide)
    shown = panel.imshow(table, cmap="cividis", vmin=low, vmax=1)
    bar = figure.colorbar(shown, ax=panel, orientation="horizontal", shrink=0.9, aspect=25, pad=0.03)
    bar.set_label("correlation" if numbers else "share of equal answers", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    places = {"xticks": range(members), "yticks": range(members)}
    titled(panel, title, most=BESIDE - 7, xlabel="member", ylabel="member", **places)
    size = SMALL if members <= NUMBERED / 2 else SMALL - 1.5
    panel.set_xticklabels(map(plain, names), rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    panel.set_yticklabels(map(plain, names), fontsize=size)
    if members <= NUMBERED:
        for (one, other), value in np.ndenumerate(table):
            # No zero before the point: a cell is narrow.
            text = f"{value:.2f}".replace("0.", ".", 1)
            colour, room = ink(shown.cmap(shown.norm(value))), SMALL if members <= NUMBERED / 2 else SMALL - 2.5
            panel.text(other, one, text, ha="center", va="center", color=colour, fontsize=room)
    return figure
