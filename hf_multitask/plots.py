"""Pictures of results; needs matplotlib, which `pip install hf_multitask[plots]` brings."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE

__all__ = ["can_plot", "embedding_map"]

INCHES = 5


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def embedding_map(
    path: str | Path,
    embeddings: Mapping[str, np.ndarray],
    labels: Sequence[int],
    names: Sequence[str],
    *,
    seed: int = 0,
) -> Path:
    """Draw embeddings [n, width] in the plane by t-SNE (van der Maaten & Hinton, 2008), one panel each.

    Points are coloured by their `labels` [n], ids of `names`. Near points were near before; what is far means little.
    """
    # Here, and by its objects alone: no window, and no import for whoever draws nothing.
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    given = np.asarray(labels)
    figure = Figure(figsize=(INCHES * len(embeddings), INCHES), layout="constrained")
    panels = figure.subplots(1, len(embeddings), squeeze=False)[0]
    colours = colormaps["viridis"](np.linspace(0, 0.95, len(names)))
    for panel, (title, rows) in zip(panels, embeddings.items(), strict=True):
        # t-SNE wants fewer neighbours than there are points.
        perplexity = min(30.0, (len(rows) - 1) / 3)
        places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(np.asarray(rows))
        for label, name in enumerate(names):
            chosen = given == label
            panel.scatter(*places[chosen].T, s=9, color=colours[label], label=name, linewidths=0)
        panel.set(title=title, xticks=[], yticks=[])
    panels[-1].legend(markerscale=2, fontsize="small")
    figure.savefig(path, dpi=150)
    return Path(path)
