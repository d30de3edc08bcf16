"""Pictures of embeddings in the plane."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from .canvas import MARKS, canvas, save

__all__ = ["embedding_map", "height_map", "map_figure"]

INCHES = 5


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
    are the two directions of the largest variance.
    """
    from matplotlib import colormaps

    given = np.asarray(labels)
    figure, panels = canvas(len(embeddings), wide=INCHES, high=INCHES)
    # Graded labels: from dark to light, with marks of their own.
    colours = colormaps["viridis"](np.linspace(0, 0.95, len(names)))
    for panel, (title, rows) in zip(panels, embeddings.items(), strict=True):
        places = placed(np.asarray(rows), by=by, seed=seed)
        for label, name in enumerate(names):
            chosen = given == label
            mark = MARKS[label % len(MARKS)]
            panel.scatter(*places[chosen].T, s=9, color=colours[label], marker=mark, label=name, linewidths=0)
        panel.set(title=title, xlabel=f"{by}, first axis", ylabel=f"{by}, second axis", xticks=[], yticks=[])
    panels[-1].legend(markerscale=2, fontsize="small")
    return figure


def height_map(embeddings: np.ndarray, values: Sequence[float], *, title: str, height: str) -> Any:
    """Embeddings [n, width] on the plane of their first two principal components, what is predicted [n] as height."""
    places = placed(np.asarray(embeddings), by="PCA")
    figure, (panel,) = canvas(wide=INCHES, high=INCHES, subplot_kw={"projection": "3d"})
    panel.scatter(*places.T, np.asarray(values), c=np.asarray(values), cmap="viridis", s=8)
    panel.set(title=title, xlabel="PCA, first axis", ylabel="PCA, second axis", zlabel=height)
    # Smaller than its frame, which else cuts off what the height is.
    panel.set_box_aspect(None, zoom=0.85)
    return figure


def placed(rows: np.ndarray, *, by: str, seed: int = 0) -> np.ndarray:
    """Two coordinates of each row."""
    if by == "PCA":
        return PCA(2, random_state=seed).fit_transform(rows)
    # t-SNE wants fewer neighbours than there are points.
    perplexity = min(30.0, (len(rows) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(rows)
