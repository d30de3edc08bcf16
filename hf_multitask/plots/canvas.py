"""What all pictures share: a figure without a window, colours that everyone can tell apart, and how one is kept."""

import base64
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["COLOURS", "MARKS", "can_plot", "canvas", "embedded", "png", "save", "within"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Those of Okabe & Ito (2008), which differ for colour-blind readers too."""

MARKS = "osD^vPX*"
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


def within(picture: bytes, most: int) -> bytes:
    """A PNG of so many bytes at most: of 256 colours, and with fewer dots, where it takes that."""
    from PIL import Image

    found, share = picture, 1.0
    while len(found) > most and share > 0.1:
        with Image.open(io.BytesIO(picture)) as image:
            wide, high = (max(round(side * share), 1) for side in image.size)
            small = image.convert("RGB").resize((wide, high), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        small.quantize(256).save(stream, format="png", optimize=True)
        found, share = stream.getvalue(), 0.8 * share
    return found


def embedded(picture: Any) -> str:
    """The same as text that stands in a page."""
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"
