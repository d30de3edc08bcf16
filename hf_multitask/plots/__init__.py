"""Pictures of results; needs matplotlib, which `pip install hf_multitask[plots]` brings."""

from .canvas import can_plot, embedded, png, save, signed, within
from .courses import learning_curves, sweep_curve, task_shares
from .judgements import BINS, agreement, bins_of, confusion, reliability, scatter
from .maps import embedding_map, height_map, map_figure
from .rows import RowMarks, rows_beside

__all__ = [
    "BINS",
    "RowMarks",
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
    "rows_beside",
    "save",
    "scatter",
    "signed",
    "sweep_curve",
    "task_shares",
    "within",
]
