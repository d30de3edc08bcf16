"""Measurements as a table."""

from collections.abc import Sequence

from ..report import aligned
from .turns import Line

__all__ = ["markdown"]


def markdown(lines: Sequence[Line]) -> str:
    """A Markdown table, a line for each contender; a ratio that misses its goal is marked.

    >>> print(markdown([Line("a", "a", 1.0, 1.0, 1.0, 5.0, 1.0, 2e6)]))
    | step | against | time | quartiles | goal | arithmetic |  ms | held MB | peak MB |
    | ---- | ------- | ---: | --------: | ---: | ---------: | --: | ------: | ------: |
    | a    | a       | 1.00 | 1.00-1.00 |      |       1.00 | 5.0 |       0 |       2 |
    """
    notes = list(dict.fromkeys(name for line in lines for name in line.notes))
    rated = any(line.rows_per_second for line in lines)
    head = ["step", "against", "time", "quartiles", "goal", "arithmetic", "ms", "held MB", "peak MB"]
    head += ["rows/s"] * rated + notes
    return aligned(
        [head, *([*cells(line, rated), *(str(line.notes.get(name, "")) for name in notes)] for line in lines)]
    )


def cells(line: Line, rated: bool) -> list[str]:
    rate = "" if line.rows_per_second is None else f"{line.rows_per_second:,.0f}"
    return [
        line.name,
        line.against,
        f"{line.ratio:.2f}",
        f"{line.low:.2f}-{line.high:.2f}",
        goal(line),
        "" if line.arithmetic is None else f"{line.arithmetic:.2f}",
        f"{line.milliseconds:.1f}",
        f"{line.held / 1e6:.0f}",
        f"{line.peak / 1e6:.0f}",
        *[rate] * rated,
    ]


def goal(line: Line) -> str:
    if line.at_least is not None:
        return f">= {line.at_least:.2f}{' (missed)' if line.ratio < line.at_least else ''}"
    return "" if line.goal is None else f"<= {line.goal:.2f}{' (missed)' if line.ratio > line.goal else ''}"
