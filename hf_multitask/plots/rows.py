"""A picture of a table: each row's number beside the published one, and what sets it apart from another row."""

import math
import re
from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from typing import Any, NamedTuple

import numpy as np

from .canvas import COLOURS, INCHES, SMALL, canvas, key, plain, titled

__all__ = ["RowMarks", "rows_beside"]

LINE = 0.17
"""The height of a row in inches."""
AROUND = 1.1
"""That of the title, the axis and the key together."""

HOLLOW = "hollow: inside the noise"
TICKS = 5
"""Along an axis at most."""

BAR = {"color": COLOURS[0], "fmt": "o", "markersize": 4, "capsize": 2, "linewidth": 1}
"""A number with its interval."""


class RowMarks(NamedTuple):
    """What a picture has of a row: our number with its interval and cross-fitted, theirs, and (gain, low, high).

    A gain is `over` what the row of that name has.
    """

    name: str
    ours: float | None = None
    interval: tuple[float, float] | None = None
    theirs: float | None = None
    crossfitted: float | None = None
    gain: tuple[float, float, float] | None = None
    over: str | None = None


def rows_beside(rows: Sequence[RowMarks], *, title: str, measure: str) -> Any:
    """A line for each row, in the order of the table; a gain inside the noise is hollow.

    Gains have a panel of their own, where there are any, and whom they are over has a letter.
    """
    compared = any(row.gain for row in rows)
    letters = lettered(rows)
    high = LINE * len(rows) + AROUND
    figure, panels = canvas(2 if compared else 1, wide=INCHES if compared else 2 * INCHES, high=high, sharey=True)
    first = panels[0]
    numbers(first, rows)
    titled(first, title, xlabel=measure, ylabel="row")
    # The first one on top, as in a table.
    first.set_yticks(range(len(rows)), [plain(marked(row.name, letters)) for row in rows])
    first.set_ylim(len(rows) - 0.4, -0.6)
    if compared:
        differences(panels[1], rows, letters)
        name = re.split(r",| \(", measure)[0]
        elsewhere = set(letters) - {row.name for row in rows}
        said = [HOLLOW, *(f"{letter}: {other}" for other, letter in letters.items() if other in elsewhere)]
        titled(panels[1], f"what it gains ({'; '.join(said)})", most=28, xlabel=f"difference in {name}, 95% interval")
        panels[1].tick_params(labelleft=False)
    for panel in panels:
        panel.grid(axis="y", linewidth=0.3, color="0.85")
        panel.set_axisbelow(True)
        panel.locator_params(axis="x", nbins=TICKS)
    # A bar is listed after every line.
    key(first, columns=3, reverse=True)
    return figure


def lettered(rows: Sequence[RowMarks]) -> dict[str, str]:
    """A letter for each row that another's gain is over, in the order of the table; then for who is not in it.

    >>> lettered([RowMarks("Base"), RowMarks("SMART", gain=(0.1, 0.0, 0.2), over="Base")])
    {'Base': 'a'}
    """
    over = dict.fromkeys(row.over for row in rows if row.gain and row.over)
    names = dict.fromkeys([*(row.name for row in rows if row.name in over), *over])
    return dict(zip(names, ascii_lowercase, strict=False))


def marked(name: str, letters: Mapping[str, str]) -> str:
    """A row's name, with its letter where it has one."""
    return f"{name} [{letters[name]}]" if name in letters else name


def numbers(panel: Any, rows: Sequence[RowMarks]) -> None:
    """Ours with the interval, what is left of it cross-fitted where that is another, and theirs."""
    if whole := [(place, row) for place, row in enumerate(rows) if row.ours is not None]:
        ends = [row.interval or (np.nan, np.nan) for _, row in whole]
        reached = np.array([row.ours for _, row in whole])
        lengths = (np.transpose(ends) - reached) * [[-1], [1]]
        label = "ours" if np.isnan(lengths).all() else "ours, 95% interval"
        panel.errorbar(reached, [place for place, _ in whole], xerr=lengths.clip(min=0), label=label, **BAR)
    style = {"linestyle": "", "markersize": 5}
    fair = [None if same(row.crossfitted, row.ours) else row.crossfitted for row in rows]
    for name, mark, colour, fill, values in (
        ("cross-fitted", "D", COLOURS[0], "none", fair),
        ("published", "s", COLOURS[1], COLOURS[1], [row.theirs for row in rows]),
    ):
        if held := [(value, place) for place, value in enumerate(values) if value is not None]:
            panel.plot(*zip(*held, strict=True), marker=mark, color=colour, markerfacecolor=fill, label=name, **style)


def same(one: float | None, other: float | None) -> bool:
    """Whether two numbers are, but for rounding."""
    return one is not None and other is not None and math.isclose(one, other, abs_tol=1e-6)


def differences(panel: Any, rows: Sequence[RowMarks], letters: Mapping[str, str]) -> None:
    """Each gain with its interval and over whom it is, and a line at none."""
    panel.axvline(0, color=COLOURS[6], linestyle=(0, (6, 4)), linewidth=1)
    for place, row in enumerate(rows):
        if row.gain is not None:
            gain, low, high = row.gain
            fill = "white" if low <= 0 <= high else COLOURS[0]
            panel.errorbar([gain], [place], xerr=[[max(gain - low, 0)], [max(high - gain, 0)]], mfc=fill, **BAR)
            if letter := letters.get(row.over or ""):
                beside = {"xycoords": panel.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
                panel.annotate(f"over {letter}", (1, place), (4, 0), fontsize=SMALL, **beside)
