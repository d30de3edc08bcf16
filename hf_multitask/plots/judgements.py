"""Pictures of answers beside labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .canvas import COLOURS, INCHES, canvas

__all__ = ["agreement", "confusion", "reliability", "scatter"]

BINS = 15


def confusion(counts: Sequence[Sequence[int]], names: Sequence[str], *, title: str) -> Any:
    """A confusion matrix [true][predicted], as counts and as shares of each true class."""
    matrix = np.asarray(counts)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure, panels = canvas(2, wide=INCHES + 0.8, high=INCHES + 0.3)
    for panel, values, said in zip(panels, (matrix, shares), ("rows", "share of the true class"), strict=True):
        panel.imshow(values, cmap="cividis", vmin=0, vmax=values.max() or 1)
        for (true, given), value in np.ndenumerate(values):
            dark = value < 0.6 * (values.max() or 1)
            text = f"{value:,}" if values is matrix else f"{value:.2f}"
            panel.text(given, true, text, ha="center", va="center", color="white" if dark else "black", fontsize=8)
        ticks = range(len(names))
        panel.set(title=f"{title}: {said}", xlabel="predicted", ylabel="true", xticks=ticks, yticks=ticks)
        panel.set_xticklabels(names, rotation=30, ha="right", fontsize=8)
        panel.set_yticklabels(names, fontsize=8)
        panel.title.set_fontsize(10)
    return figure


def scatter(values: np.ndarray, labels: np.ndarray, *, title: str, low: float, high: float) -> Any:
    """Predicted numbers over the true ones, with the line on which both are equal."""
    figure, (panel,) = canvas(wide=INCHES + 0.6)
    panel.plot([low, high], [low, high], color=COLOURS[6], linewidth=1, label="equal")
    panel.scatter(labels, values, s=8, color=COLOURS[0], alpha=0.4, linewidths=0, label="a pair")
    panel.set(title=title, xlabel=f"true value ({low:g} to {high:g})", ylabel="predicted value")
    panel.legend(fontsize=8)
    return figure


def reliability(probabilities: np.ndarray, labels: np.ndarray, *, title: str) -> Any:
    """How often answers [n, classes] are right, by how sure they are; below, how many are so sure."""
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    places = bins_of(sure)
    counts = np.bincount(places, minlength=BINS)
    filled = counts > 0
    said, hit = (np.bincount(places, weights=each, minlength=BINS)[filled] / counts[filled] for each in (sure, right))
    figure, (panel,) = canvas(wide=INCHES + 0.6)
    middle, shares = (np.arange(BINS) + 0.5) / BINS, counts / counts.sum()
    panel.bar(middle, shares, width=0.9 / BINS, color=COLOURS[5], label="share of the answers")
    panel.plot([0, 1], [0, 1], color=COLOURS[6], linewidth=1, label="as sure as right")
    panel.plot(said, hit, marker="o", markersize=4, color=COLOURS[1], label="share that is right")
    panel.set(title=title, xlabel="probability of the answer", ylabel="share", xlim=(0, 1), ylim=(0, 1))
    panel.legend(fontsize=8)
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
    figure, (panel,) = canvas(wide=INCHES + 1.2, high=INCHES + 0.4)
    shown = panel.imshow(table, cmap="cividis", vmin=min(0.0, float(table.min())), vmax=1)
    figure.colorbar(shown, ax=panel, label="correlation" if numbers else "share of equal answers")
    panel.set(title=title, xlabel="member", ylabel="member", xticks=range(members), yticks=range(members))
    panel.set_xticklabels(names, rotation=45, ha="right", fontsize=7)
    panel.set_yticklabels(names, fontsize=7)
    return figure
