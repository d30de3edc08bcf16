"""Pictures of what changes: while a run goes on, or from one setting to the next."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import ceil, floor, log10
from typing import Any

import numpy as np

from .canvas import COLOURS, LINES, MARKS, SMALL, canvas, key, plain, titled

__all__ = ["learning_curves", "sweep_curve", "task_shares"]

HIGH = 2.4
"""The height of a panel in inches."""

TICKS = 8
"""Up to so many values of a setting each have a tick."""

WIDE = 20
"""Values of a setting that differ by so many times are on a logarithmic axis."""

SPAN = 0.02
"""Of the scores that a picture of a sweep shows at least: within less of them noise would look like a slope."""

DECADE = 10
"""Losses that differ by so many times are drawn on a logarithmic axis: else the small ones lie on one another."""

GAP = 3
"""A line is broken where a task has no entry for so many times as long as it usually is from one to the next."""


def learning_curves(history: Sequence[Mapping[str, float]], metrics: Mapping[str, str]) -> Any:
    """The loss of each task, and its own metric on dev, over the steps; `history` is a Trainer's log."""
    figure, panels = canvas(rows=2, high=HIGH, sharex=True)
    losses = {task: f"loss_{task}" for task in metrics}
    judged = {task: f"eval_{task}_{metric}" for task, metric in metrics.items()}
    labels = [list(metrics), [f"{task}, {metric}" for task, metric in metrics.items()]]
    for panel, keys, names in zip(panels, (losses, judged), labels, strict=True):
        lines = {name: points(history, wanted) for name, wanted in zip(names, keys.values(), strict=True)}
        usual = stride(step for line in lines.values() for step, _ in line)
        for number, (name, line) in enumerate(lines.items()):
            if line:
                style = {"color": COLOURS[number % 8], "marker": MARKS[number % 8], "linestyle": LINES[number % 4]}
                steps, values = np.array(broken(line, GAP * usual)).T
                panel.plot(steps, values, markersize=3, linewidth=1.2, label=plain(name), **style)
        if any(lines.values()):
            key(panel)
        else:
            panel.text(0.5, 0.5, "nothing was logged", transform=panel.transAxes, ha="center", fontsize=SMALL)
    found = [value for wanted in losses.values() for _, value in points(history, wanted) if value > 0]
    if found and max(found) >= DECADE * min(found):
        logarithmic(panels[0].yaxis, whole=max(found) >= DECADE**4 * min(found))
    titled(panels[0], "Learning curves", ylabel="training loss")
    titled(panels[1], "On dev", xlabel="step", ylabel="metric on dev")
    # From the start to the end of the run, of which a single point else looks like all.
    last = max((entry["step"] for entry in history), default=1)
    panels[1].set_xlim(-0.02 * last, 1.03 * last)
    whole_numbers(panels[1].xaxis)
    panels[0].tick_params(labelbottom=True)
    panels[0].set_xlabel("step", fontsize=panels[1].xaxis.label.get_fontsize())
    return figure


def points(history: Sequence[Mapping[str, float]], wanted: str) -> list[tuple[float, float]]:
    return [(entry["step"], entry[wanted]) for entry in history if wanted in entry]


def stride(steps: Iterable[float]) -> float:
    """How far it usually is from one logged step to the next.

    >>> stride([10, 20, 20, 30, 90])
    10.0
    """
    distances = np.diff(np.unique(list(steps)))
    return float(np.median(distances)) if len(distances) else float("inf")


def broken(line: Sequence[tuple[float, float]], most: float) -> list[tuple[float, float]]:
    """The points of a line, with a hole wherever two are further apart than `most`.

    >>> broken([(1, 0.5), (2, 0.4), (9, 0.3)], 3)
    [(1, 0.5), (2, 0.4), (nan, nan), (9, 0.3)]
    """
    found = list(line[:1])
    for (before, _), point in pairwise(line):
        found += [(np.nan, np.nan), point] if point[0] - before > most else [point]
    return found


def whole_numbers(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def logarithmic(axis: Any, *, whole: bool) -> None:
    """Make an axis logarithmic, with numbers at 1, 2 and 5 of each power of ten, or at the powers alone."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.axes.set_yscale("log")
    axis.set_major_locator(LogLocator(subs=(1,) if whole else (1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def with_zero(panel: Any, low: float, high: float) -> None:
    """Make the x axis logarithmic from `low` to `high`, and linear from there to zero, which it else lacks."""
    panel.set_xscale("symlog", linthresh=low)
    panel.set_xticks([0, *(10.0**power for power in range(ceil(log10(low)), floor(log10(high)) + 1))])
    panel.minorticks_off()
    panel.autoscale(axis="x")


def task_shares(shares: Mapping[str, Sequence[float]]) -> Any:
    """Of each epoch's steps the share that has a task; of a single epoch as bars."""
    figure, (panel,) = canvas(high=HIGH)
    titled(panel, "Task probabilities", ylabel="share of the steps", ylim=(0, 1.05))
    if all(len(values) == 1 for values in shares.values()):
        colours = [COLOURS[number % 8] for number in range(len(shares))]
        names, heights = [plain(task) for task in shares], [value for (value,) in shares.values()]
        bars = panel.bar(names, heights, width=0.6, color=colours)
        panel.bar_label(bars, fmt="%.2f", fontsize=SMALL)
        # Room for the number above a task that every step has.
        panel.set(xlabel="task, in the only epoch", ylim=(0, 1.12))
        return figure
    # Those drawn first are wider: where two shares are equal, both are seen.
    widths = np.linspace(4.5, 1.2, len(shares))
    for number, ((task, values), width) in enumerate(zip(shares.items(), widths, strict=True)):
        style = {"color": COLOURS[number % 8], "marker": MARKS[number % 8], "linestyle": LINES[number % 4]}
        size = {"linewidth": width, "markersize": 4 + 1.5 * width, "markerfacecolor": "none"}
        panel.plot(range(1, len(values) + 1), values, label=plain(task), clip_on=False, **style, **size)
    panel.set_xlabel("epoch")
    whole_numbers(panel.xaxis)
    key(panel, columns=min(len(shares), 3))
    return figure


def sweep_curve(
    ours: Mapping[float, tuple[float, float | None]],
    theirs: Mapping[float, float] | None = None,
    *,
    setting: str,
    title: str,
    measure: str = "score (0 to 1)",
    intervals: Mapping[float, tuple[float, float]] | None = None,
    baseline: tuple[str, float] | None = None,
    here: Mapping[float, float] | None = None,
) -> Any:
    """A measure by a setting: ours, what was published, and the `baseline` (name, value) that ours is compared with.

    What is ours has the 95% `intervals` {setting: (low, high)} where these are given, or else the deviation over the
    seeds where there is one. Places are those of what was published; `here` says what ours had there where that is
    something else, in brackets.
    """
    figure, (panel,) = canvas(high=HIGH)
    places = sorted(ours)
    values = [ours[place][0] for place in places]
    if intervals:
        label = "ours, 95% interval"
        ends = [intervals.get(place, (value, value)) for place, value in zip(places, values, strict=True)]
        lengths = [(value - low, high - value) for (low, high), value in zip(ends, values, strict=True)]
    else:
        label = "ours, deviation over the seeds"
        lengths = [(ours[place][1] or 0.0,) * 2 for place in places]
    style = {"color": COLOURS[0], "marker": "o", "markersize": 4}
    # A bar of no length would look like a certainty that nobody measured.
    errors = np.array([sides if max(sides) > 0 else (np.nan, np.nan) for sides in lengths]).T.clip(min=0)
    if np.isnan(errors).all():
        panel.plot(places, values, label="ours", **style)
    else:
        panel.errorbar(places, values, yerr=errors, capsize=3, label=label, **style)
    if theirs:
        others = {"color": COLOURS[1], "marker": "s", "markersize": 4, "linestyle": "--", "label": "published"}
        panel.plot(sorted(theirs), [theirs[x] for x in sorted(theirs)], **others)
    if baseline is not None:
        name, value = baseline
        panel.axhline(value, color=COLOURS[6], linestyle=(0, (6, 4)), linewidth=1, label=plain(name))
    titled(panel, title, xlabel=f"{setting} (ours)" if here else setting, ylabel=measure)
    low, high = panel.get_ylim()
    lack = max(SPAN - (high - low), 0.0)
    panel.set_ylim(low - lack / 2, high + lack / 2)
    above = [place for place in places if place > 0]
    if wide := min(places) >= 0 and bool(above) and max(above) / min(above) >= WIDE:
        if min(places) > 0:
            panel.set_xscale("log")
        else:
            with_zero(panel, min(above), max(above))
    if here or (len(places) <= TICKS and not wide):
        # What was tried, and not what lies between.
        said = {place: f"\n({here[place]:g})" if here and place in here else "" for place in places}
        panel.set_xticks(places, [f"{place:g}{more}" for place, more in said.items()])
        panel.minorticks_off()
    key(panel, columns=1 if baseline or len(label) > 20 else 2)
    return figure
