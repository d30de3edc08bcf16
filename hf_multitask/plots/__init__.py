"""Pictures of results; needs matplotlib, which `pip install hf_multitask[plots]` brings."""

from .canvas import can_plot, embedded, png, save, signed, within
from .courses import learning_curves, sweep_curve, task_shares
from .judgements import BINS, agreement, bins_of, confusion, reliability, scatter
from .maps import embedding_map, height_map, map_figure

__all__ = [
    "BINS",
    "agreement",
    "bins_of",
    "can_plot",
    "confusion",
    "embedded",
    "embedding_map",
    "height_map",
    "learning_curves",
    "map_figure",
    "png",
    "reliability",
    "save",
    "scatter",
    "signed",
    "sweep_curve",
    "task_shares",
    "within",
]
