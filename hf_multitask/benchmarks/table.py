"""Measurements as a table."""

from collections.abc import Sequence

from ..report import aligned
from .turns import Line

__all__ = ["markdown"]


def markdown(lines: Sequence[Line]) -> str:
    """A Markdown table, a line for each contender; a ratio above its goal is marked.

    >>> print(markdown([Line("a", "a", 1.0, 1.0, 1.0, 5.0, 1.0, 2e6, None, {})]))
    | step | against | time | quartiles | goal | arithmetic |  ms | peak MB |
    | ---- | ------- | ---: | --------: | ---: | ---------: | --: | ------: |
    | a    | a       | 1.00 | 1.00-1.00 |      |       1.00 | 5.0 |       2 |
    """
    notes = list(dict.fromkeys(name for line in lines for name in line.notes))
    head = ["step", "against", "time", "quartiles", "goal", "arithmetic", "ms", "peak MB", *notes]
    return aligned([head, *([*cells(line), *(str(line.notes.get(name, "")) for name in notes)] for line in lines)])


def cells(line: Line) -> list[str]:
    goal = "" if line.goal is None else f"{'above' if line.ratio > line.goal else '<='} {line.goal:.2f}"
    return [
        line.name,
        line.against,
        f"{line.ratio:.2f}",
        f"{line.low:.2f}-{line.high:.2f}",
        goal,
        "" if line.arithmetic is None else f"{line.arithmetic:.2f}",
        f"{line.milliseconds:.1f}",
        f"{line.peak / 1e6:.0f}",
    ]
