"""Pictures of embeddings in the plane."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from .canvas import INCHES, LABEL, MARKS, SMALL, canvas, key, plain, save, titled

__all__ = ["embedding_map", "height_map", "map_figure"]

FEW = 3
"""Classes of which each point has room to be larger."""

EDGE = {"edgecolors": "0.15", "linewidths": 0.3}
"""A thin dark line around each point, without which light ones are lost on white."""

NEARER = -3
"""Points by which the numbers at a picture in space are moved off from it: matplotlib has them far away."""

TICKS = 8
"""Names of classes that have room above one another in space."""

CLOSE = {"markerscale": 1.5, "handletextpad": 0.2, "columnspacing": 1}
"""How a key of single points is set, so that three names have room in a line."""

LETTERS = 45
"""Of names that have room in a line of a key."""


def embedding_map(
    path: str | Path,
    embeddings: Mapping[str, np.ndarray],
    labels: Sequence[int],
    names: Sequence[str],
    *,
    seed: int = 0,
) -> Path:
    """Draw embeddings [n, width] in the plane by t-SNE, one panel each, and write the picture."""
    return save(map_figure(embeddings, labels, names, seed=seed), path)


def map_figure(
    embeddings: Mapping[str, np.ndarray],
    labels: Sequence[int],
    names: Sequence[str],
    *,
    by: str = "t-SNE",
    seed: int = 0,
) -> Any:
    """Embeddings [n, width] in the plane, one panel each, coloured by their `labels` [n], ids of `names`.

    By t-SNE (van der Maaten & Hinton, 2008) near points were near before, and what is far means little; by PCA the axes
    are the two directions of the largest variance, and say how much of it.
    """
    given = np.asarray(labels)
    figure, panels = canvas(len(embeddings))
    for panel, (title, rows) in zip(panels, embeddings.items(), strict=True):
        places, axes = placed(np.asarray(rows), by=by, seed=seed)
        for label, (name, style) in enumerate(marks(names)):
            panel.scatter(*places[given == label].T, label=name, **style)
        titled(panel, title, xlabel=axes[0], ylabel=axes[1], xticks=[], yticks=[])
    key(panels[0], columns=abreast(names), **CLOSE)
    return figure


def height_map(
    embeddings: np.ndarray, values: Sequence[float], *, title: str, height: str, names: Sequence[str] = ()
) -> Any:
    """Embeddings [n, width] on the plane of their first two principal components, what is predicted [n] as height.

    With `names` the predictions are ids of these classes.
    """
    places, axes = placed(np.asarray(embeddings), by="PCA")
    given = np.asarray(values)
    # With room below for the key.
    lines = max(2, ceil(len(names) / abreast(names)))
    figure, (panel,) = canvas(high=INCHES + 0.2 + 0.14 * lines, subplot_kw={"projection": "3d"})
    # The layout takes what stands around a picture in space to be smaller than it is, and puts the title too high.
    figure.get_layout_engine().set(rect=(0, 0, 1, 0.97))
    # In two lines each, since the two meet at a corner.
    across, along = (axis.replace(" (", "\n(") for axis in axes)
    titled(panel, title, xlabel=across, ylabel=along)
    panel.tick_params(labelsize=SMALL, pad=NEARER)
    panel.locator_params(nbins=3)
    if names:
        for label, (name, style) in enumerate(marks(names)):
            chosen = given == label
            panel.scatter(*places[chosen].T, given[chosen], label=name, depthshade=False, **style)
        every = ceil(len(names) / TICKS)
        panel.set_zticks(range(0, len(names), every), [plain(name) for name in names[::every]], ha="left")
        # Beside long names the axis has no room to say what it is.
        key(panel, columns=abreast(names), title=plain(f"height: {height}"), **CLOSE)
    else:
        panel.set_zlabel(plain(height), fontsize=LABEL)
        panel.tick_params(axis="z", pad=0)
        shown = panel.scatter(*places.T, given, c=given, cmap="viridis", s=9, depthshade=False, **EDGE)
        bar = figure.colorbar(shown, ax=panel, shrink=0.5, orientation="horizontal", pad=0.05)
        bar.set_label(plain(height), fontsize=SMALL)
        bar.ax.tick_params(labelsize=SMALL)
    # Smaller than its frame, which else cuts off what the height is.
    panel.set_box_aspect(None, zoom=0.8)
    return figure


def abreast(names: Sequence[str]) -> int:
    """How many names have room beside one another in a key.

    >>> abreast(["no", "yes"]), abreast(["very negative"] * 5), abreast(["a class of many words"] * 5)
    (2, 3, 2)
    """
    return max(1, min(len(names), 3, LETTERS // max(map(len, names), default=1)))


def marks(names: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """How the points of each class look: graded from dark to light, with marks of their own."""
    from matplotlib import colormaps

    size = 16 if len(names) <= FEW else 9
    colours = colormaps["viridis"](np.linspace(0, 0.95, len(names)))
    return [
        (plain(name), {"color": [colour], "marker": MARKS[label % len(MARKS)], "s": size, **EDGE})
        for label, (name, colour) in enumerate(zip(names, colours, strict=True))
    ]


def placed(rows: np.ndarray, *, by: str, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Two coordinates of each row, and what these are; rows that are all the same lie at one place."""
    # Neither way can divide by a variance of zero; that of differences whose squares vanish is zero too.
    same = np.square(np.ptp(rows, axis=0).max(), dtype=np.float32) == 0
    places, shares = np.zeros((len(rows), 2)), np.zeros(2)
    if by == "PCA":
        if not same:
            model = PCA(2, random_state=seed)
            places, shares = model.fit_transform(rows), model.explained_variance_ratio_
        return places, [f"PCA {number} ({share:.0%} of the variance)" for number, share in enumerate(shares, 1)]
    if not same:
        # t-SNE wants fewer neighbours than there are points.
        perplexity = min(30.0, (len(rows) - 1) / 3)
        places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(rows)
    return places, [f"{by}, first axis", f"{by}, second axis"]
