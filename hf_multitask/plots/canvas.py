"""What all pictures share: a figure without a window, colours that everyone can tell apart, and how one is kept."""

import base64
import io
from importlib.util import find_spec
from pathlib import Path
from textwrap import fill
from typing import Any

__all__ = [
    "COLOURS",
    "INCHES",
    "LINES",
    "MARKS",
    "SMALL",
    "can_plot",
    "canvas",
    "embedded",
    "ink",
    "key",
    "plain",
    "png",
    "save",
    "signed",
    "titled",
    "within",
]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Those of Okabe & Ito (2008), which differ for colour-blind readers too."""

MARKS = "osD^vPX*"
LINES = ("-", "--", "-.", ":")

INCHES = 3.3
"""The width of a column of a paper: what is legible here is so there too."""

DOTS = 200
TITLE, LABEL, SMALL = 9, 8, 7
"""Sizes of the letters in points: of titles, of what axes are, and of everything else."""


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def canvas(
    columns: int = 1, *, rows: int = 1, wide: float = INCHES, high: float = INCHES, **options: Any
) -> tuple[Any, Any]:
    """A figure with panels in columns and rows, each `wide` and `high`, and these in a list."""
    # Here, and by its objects alone: no window, and no import for whoever draws nothing.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide * columns, high * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(panels.flat)


def titled(panel: Any, title: str, *, most: int = 42, **options: Any) -> None:
    """Set a panel's title and what its axes are, in letters that a paper's column can show.

    Of a title there are `most` letters in a line, since what goes beyond the picture is cut off.
    """
    panel.set(**{name: plain(value) if isinstance(value, str) else value for name, value in options.items()})
    panel.set_title(plain(fill(title, most, break_on_hyphens=False)), fontsize=TITLE)
    panel.tick_params(labelsize=SMALL)
    for axis in (panel.xaxis, panel.yaxis):
        axis.label.set_fontsize(LABEL)


def plain(name: str) -> str:
    """A name so written that it is drawn as it is: a `$` begins mathematics, and a key leaves out what begins with `_`.

    >>> print(plain("$5 to $10"), plain("_other"))
    \\$5 to \\$10  _other
    """
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def key(panel: Any, *, columns: int = 0, **options: Any) -> None:
    """Say what a panel's marks are: inside it, or with `columns` below the whole figure."""
    options = {"fontsize": SMALL, "title_fontsize": SMALL, **options}
    if columns:
        handles, labels = panel.get_legend_handles_labels()
        panel.figure.legend(handles, labels, loc="outside lower center", ncols=columns, **options)
    else:
        panel.legend(**options)


def ink(colour: Any) -> str:
    """Black or white, whichever is easier to read on a colour.

    >>> ink("yellow"), ink("navy")
    ('black', 'white')
    """
    from matplotlib.colors import to_rgb

    # The relative luminance of the Web Content Accessibility Guidelines; at 0.179 both contrast alike.
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    light = 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
    return "black" if light > 0.179 else "white"


def signed(figure: Any, whose: str) -> Any:
    """A picture with a small line under its title that says whose it is."""
    panel = figure.axes[0]
    panel.set_title(panel.get_title(), fontsize=TITLE, pad=SMALL + 9)
    place = {"xy": (0.5, 1), "xytext": (0, 4), "xycoords": "axes fraction", "textcoords": "offset points"}
    panel.annotate(plain(whose), ha="center", va="bottom", fontsize=SMALL, color="0.3", annotation_clip=False, **place)
    return figure


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
