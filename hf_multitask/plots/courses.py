"""Pictures of what changes: while a run goes on, or from one setting to the next."""

from collections.abc import Mapping, Sequence
from typing import Any

from .canvas import COLOURS, INCHES, MARKS, canvas

__all__ = ["learning_curves", "sweep_curve", "task_shares"]

SPAN = 0.02
"""Of the scores that a picture of a sweep shows at least: within less of them noise would look like a slope."""


def learning_curves(history: Sequence[Mapping[str, float]], metrics: Mapping[str, str]) -> Any:
    """The loss of each task, and its own metric on dev, over the steps; `history` is a Trainer's log."""
    figure, panels = canvas(2, wide=INCHES + 0.8)
    for number, (task, metric) in enumerate(metrics.items()):
        style = {"color": COLOURS[number % 8], "marker": MARKS[number % 8], "markersize": 3, "label": task}
        for panel, key in zip(panels, (f"loss_{task}", f"eval_{task}_{metric}"), strict=True):
            points = [(entry["step"], entry[key]) for entry in history if key in entry]
            if points:
                panel.plot(*zip(*points, strict=True), **style)
    panels[0].set(title="Learning curves", xlabel="step", ylabel="training loss")
    panels[1].set(title="On dev", xlabel="step", ylabel=", ".join(dict.fromkeys(metrics.values())))
    for panel in panels:
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=8)
    return figure


def task_shares(shares: Mapping[str, Sequence[float]]) -> Any:
    """Of each epoch's steps the share that has a task."""
    figure, (panel,) = canvas(wide=INCHES + 0.8)
    for number, (task, values) in enumerate(shares.items()):
        style = {"color": COLOURS[number % 8], "marker": MARKS[number % 8], "markersize": 4}
        panel.plot(range(1, len(values) + 1), values, label=task, **style)
    panel.set(title="Task probabilities", xlabel="epoch", ylabel="share of the steps with the task", ylim=(0, 1.05))
    panel.legend(fontsize=8)
    return figure


def sweep_curve(
    ours: Mapping[float, tuple[float, float | None]],
    theirs: Mapping[float, float] | None = None,
    *,
    setting: str,
    title: str,
    measure: str = "score (0 to 1)",
) -> Any:
    """A measure by a setting: ours with the deviation over the seeds, and what was published."""
    figure, (panel,) = canvas(wide=INCHES + 0.8)
    places = sorted(ours)
    errors = [ours[place][1] or 0.0 for place in places]
    values = [ours[place][0] for place in places]
    panel.errorbar(places, values, yerr=errors, color=COLOURS[0], marker="o", capsize=3, label="ours")
    if theirs:
        panel.plot(sorted(theirs), [theirs[x] for x in sorted(theirs)], color=COLOURS[1], marker="s", label="published")
    panel.set(title=title, xlabel=setting, ylabel=measure)
    low, high = panel.get_ylim()
    lack = max(SPAN - (high - low), 0.0)
    panel.set_ylim(low - lack / 2, high + lack / 2)
    if min(places) > 0 and max(places) / min(places) >= 20:
        panel.set_xscale("log")
    panel.legend(fontsize=8)
    return figure
