"""What all pictures share: a figure without a window, colours that everyone can tell apart, and how one is kept."""

import base64
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["COLOURS", "can_plot", "canvas", "embedded", "png", "save"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Those of Okabe & Ito (2008), which differ for colour-blind readers too."""

INCHES = 3.4
DOTS = 150


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def canvas(columns: int = 1, *, wide: float = INCHES, high: float = INCHES, **options: Any) -> tuple[Any, Any]:
    """A figure with panels side by side, and these in a list."""
    # Here, and by its objects alone: no window, and no import for whoever draws nothing.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide * columns, high), layout="constrained")
    panels = figure.subplots(1, columns, squeeze=False, **options)[0]
    return figure, list(panels)


def save(figure: Any, path: str | Path) -> Path:
    """Write a picture as its file's ending says."""
    figure.savefig(path, dpi=DOTS)
    return Path(path)


def png(picture: Any) -> bytes:
    """A picture, a figure or a PNG file, as the bytes of a PNG."""
    if isinstance(picture, Path):
        return picture.read_bytes()
    stream = io.BytesIO()
    picture.savefig(stream, format="png", dpi=DOTS)
    return stream.getvalue()


def embedded(picture: Any) -> str:
    """The same as text that stands in a page."""
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"
