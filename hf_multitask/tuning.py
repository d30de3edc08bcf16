"""Searches over trainings by Optuna, which as many processes as there are may share."""

import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from transformers import TrainerCallback

from .plots import can_plot
from .report import replace_text
from .training.interruptions import Interrupted

if TYPE_CHECKING:
    import optuna

__all__ = ["Dimension", "Watch", "best_params", "draw", "optimize", "save_trials"]

HEARTBEAT = 60
"""Seconds between the signs of life of a worker; after two without, its trial counts as failed."""

SHOWN = 6
WIDE = 4.5
"""Inches of a picture's panel."""


@dataclass(frozen=True)
class Dimension:
    """What a setting may be: a number from `low` to `high`, or one of the `choices`.

    `log` tries each order of magnitude alike; `step` tries low, low + step, and so on.

    >>> Dimension(low=1e-5, high=1e-4, log=True).edges()
    [1e-05, 0.0001]
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: list[Any] | None = None

    def __post_init__(self) -> None:
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("Give low and high, or choices.")
        if self.choices is not None and (not self.choices or self.log or self.step is not None or self.low is not None):
            raise ValueError("choices is a list of one or more, and stands alone.")
        if self.low is None or self.high is None:
            return
        if not self.low <= self.high:
            raise ValueError(f"low must not be above high. Got {self.low:g} and {self.high:g}.")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError(f"log needs low above zero, and no step. Got low {self.low:g}.")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step must be above zero. Got {self.step:g}.")

    def edges(self) -> list[Any]:
        """Values that stand for all: every choice, or both ends."""
        return self.choices if self.choices is not None else [self.low, self.high]

    @property
    def between(self) -> float | None:
        """A number that is not whole, from low to high; None of choices, or where there is none."""
        if self.low is None or self.high is None or self.low == self.high:
            return None
        return self.low + (self.high - self.low) / math.e

    def chosen(self, kept: Any) -> Any:
        """The value that Optuna keeps as `kept`."""
        return kept if self.choices is None else {word(choice): choice for choice in self.choices}[kept]

    def suggest(self, trial: "optuna.Trial", name: str, *, whole: bool) -> Any:
        """The trial's value of the setting, a whole number where the setting takes no other."""
        if self.choices is not None:
            return self.chosen(trial.suggest_categorical(name, [word(choice) for choice in self.choices]))
        low, high, step = self.low or 0.0, self.high or 0.0, self.step
        if whole:
            return trial.suggest_int(name, int(low), int(high), step=int(step or 1), log=self.log)
        return trial.suggest_float(name, low, high, step=step, log=self.log)


def word(choice: Any) -> Any:
    """A choice as Optuna keeps it: anything that is not a single value as text."""
    return choice if choice is None or isinstance(choice, bool | int | float | str) else json.dumps(choice)


class Watch(TrainerCallback):
    """Tell a trial how its training goes, and end it when others were better after as many evaluations.

    `best` is the best value of the metric that the training's own arguments name.
    """

    def __init__(self, trial: "optuna.Trial", *, prune: bool = True):
        self.trial, self.prune = trial, prune
        self.values: list[float] = []

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        self.tell(metrics[f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"])

    def tell(self, value: float) -> None:
        import optuna

        self.values.append(value)
        self.trial.report(value, step=len(self.values))
        if self.prune and self.trial.should_prune():
            raise optuna.TrialPruned

    def best(self, *, greater: bool) -> float:
        return (max if greater else min)(self.values)


def optimize(
    run: Callable[["optuna.Trial"], float],
    place: str,
    *,
    trials: int,
    name: str = "tuning",
    seed: int = 0,
    greater: bool = True,
) -> "optuna.Study":
    """Work on the study `name` at `place` until it has so many trials that came to an end, whoever ran them.

    `place` is a file that ends in .db (SQLite) or .log (a journal, for file systems without locks), or the URL of a
    database. A worker that is killed leaves its trial behind, and the others go on.
    """
    import optuna

    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    study = optuna.create_study(
        storage=storage(place),
        study_name=name,
        direction="maximize" if greater else "minimize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )

    def seeded(trial: optuna.Trial) -> float:
        # By the trial's number: workers that share a seed must not try the same.
        study.sampler = optuna.samplers.TPESampler(seed=(seed * 1_000_003 + trial.number) % 2**32)
        try:
            return run(trial)
        except Interrupted as error:
            raise Interrupted(f"Told to stop: trial {trial.number} is lost. The same command goes on.") from error

    if len(study.get_trials(deepcopy=False, states=states)) < trials:
        study.optimize(seeded, callbacks=[optuna.study.MaxTrialsCallback(trials, states=states)])
    return study


def storage(place: str) -> Any:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if place.endswith(".log"):
        return optuna.storages.JournalStorage(JournalFileBackend(place))
    url = place if "://" in place else f"sqlite:///{place}"
    # Many processes write to one file of SQLite's: they wait for each other.
    waiting = {"connect_args": {"timeout": 10 * HEARTBEAT}} if url.startswith("sqlite") else {}
    # One after another: two that make the same tables at once trip over each other.
    with FileLock(f"{place}.lock") if "://" not in place else nullcontext(), settled(optuna):
        return optuna.storages.RDBStorage(url, engine_kwargs=waiting, heartbeat_interval=HEARTBEAT)


@contextmanager
def settled(optuna: Any) -> Iterator[None]:
    """Without the warnings that a part of Optuna's is new, and that all trials chose the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Attempting to set identical low and high xlims")
        yield


def best_params(study: "optuna.Study", number: int = 1) -> list[dict[str, Any]]:
    """What Optuna keeps of the best trials, the best first; fewer where fewer came to their end."""
    if not finished(study):
        raise ValueError(
            "No trial came to its end: all were pruned, or diverged. Search milder settings, or more trials."
        )
    return [trial.params for trial in finished(study)[:number]]


def finished(study: "optuna.Study") -> list[Any]:
    """The trials that came to their end, the best first."""
    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    return sorted(done, key=lambda trial: trial.value or 0.0, reverse=study.direction.name == "MAXIMIZE")


def save_trials(study: "optuna.Study", folder: Path, names: Sequence[str]) -> str:
    """Write report.md, the best trials, and report.json, all of them; give the former."""
    everything = study.get_trials(deepcopy=False)
    rows = [["trial", "score", *names], ["---"] * (2 + len(names))]
    for trial in finished(study)[:SHOWN]:
        rows.append([str(trial.number), f"{trial.value:.4f}", *(shown(trial.params[name]) for name in names)])
    states = Counter(trial.state.name.lower() for trial in everything)
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    text = f"{table}\n\nTrials: {', '.join(f'{n} {state}' for state, n in states.items())}.\n"
    kept = [
        {"number": trial.number, "state": trial.state.name.lower(), "value": trial.value, "params": trial.params}
        for trial in everything
    ]
    replace_text(folder / "report.md", text)
    replace_text(folder / "report.json", json.dumps({"trials": kept}, indent=2) + "\n")
    return text


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw(study: "optuna.Study", folder: Path) -> list[Path]:
    """Optuna's pictures of a study: history, slice and, of several settings, importance; none without matplotlib."""
    done = {trial.value for trial in finished(study)}
    if not can_plot() or not done:
        return []
    import matplotlib
    import optuna

    matplotlib.use("agg")
    pictures = {"history": "plot_optimization_history", "slice": "plot_slice"}
    if len(done) > 1 and len(study.best_params) > 1:
        pictures["importance"] = "plot_param_importances"
    paths = []
    for name, plot in pictures.items():
        with settled(optuna):
            axes = vars(optuna.visualization.matplotlib)[plot](study)
        # One picture, or an array of them that share a figure.
        figure = np.ravel(axes)[0].figure
        # Names of settings are long, and stand side by side.
        figure.set_figwidth(max(figure.get_figwidth(), WIDE * len(np.ravel(axes))))
        figure.savefig(folder / f"{name}.png", dpi=150, bbox_inches="tight")
        paths.append(folder / f"{name}.png")
    return paths
