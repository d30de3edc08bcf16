"""Several runs of the recipes that build on each other, and one table of what they reach."""

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing.connection import wait
from pathlib import Path
from shutil import rmtree
from statistics import mean, stdev
from typing import Any

from tqdm import tqdm

from ..report import Report, aligned, replace_text
from .jobs import BEGUN, Job, begin, end, gpu_at, stoppable

__all__ = ["Run", "execute", "minutes_of", "results", "shown", "spread", "table", "threads"]

TAIL = 8
"""How many lines of a failed run's log its message shows."""

ANEW = ("tune", "ensemble")
"""Scripts that begin anew; the others are told to go on where they were."""
RESUME = ("--resume", "auto", "--overwrite", "false")


@dataclass(frozen=True)
class Run:
    """One run of a script by a recipe file; its folder is finished when it holds a report.

    `needs` are folders that must be finished before it begins; beside its own folder stands which they were then.
    `after` is a script that is given the finished folder. `layer` is what the recipe file holds when it begins,
    whatever another study wrote there.
    """

    name: str
    seed: int
    script: Path
    recipe: Path
    folder: Path
    needs: tuple[Path, ...] = ()
    after: Path | None = None
    layer: str | None = None

    @property
    def finished(self) -> bool:
        return (self.folder / "report.json").is_file()

    @property
    def done(self) -> bool:
        return self.finished and (self.after is None or (self.folder / "report.html").is_file())

    @property
    def ready(self) -> bool:
        return all((need / "report.json").is_file() for need in self.needs)

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def origins(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.needs.json")

    def outdated(self) -> list[str]:
        """The names of those that it was begun with and that are gone or were made anew since."""
        before = json.loads(self.origins.read_text(encoding="utf-8")) if self.origins.is_file() else {}
        now = self.needed()
        return [name for name, digest in before.items() if now.get(name) != digest] if self.folder.is_dir() else []

    def needed(self) -> dict[str, str]:
        """What it needs and is there: the digest of each one's report."""
        reports = {need.name: need / "report.json" for need in self.needs}
        return {name: sha256(path.read_bytes()).hexdigest() for name, path in reports.items() if path.is_file()}

    def start(self, threads: int, place: int) -> Any:
        """Begin it in a process of its own, from the newest checkpoint if it was begun before."""
        # Of what is finished they are known: only its page is made.
        if self.needs and not self.finished:
            replace_text(self.origins, json.dumps(self.needed(), indent=2) + "\n")
        if self.layer is not None:
            replace_text(self.recipe, self.layer)
        # A search that lost a trial would go on otherwise than one that did not: what cannot resume begins anew.
        anew = self.script.stem in ANEW
        words = ["--config", str(self.recipe), *(() if anew else RESUME)]
        scripts = [Job(self.script, words, self.folder / "report.json", anew=anew)]
        if self.after is not None:
            scripts.append(Job(self.after, ["--folder", str(self.folder)], self.folder / "report.html"))
        return begin(scripts, self.log, threads=threads, gpu=gpu_at(place))

    def tidy(self) -> None:
        """Take away the checkpoints of what is done: there is nothing to go on with, and they are most of its size."""
        if self.done:
            for checkpoint in [*self.folder.glob("checkpoint-*"), *self.folder.glob("student/checkpoint-*")]:
                rmtree(checkpoint, ignore_errors=True)

    def fault(self, code: int | None) -> str | None:
        """What went wrong with it, when its process ended with `code`."""
        if code == 0 and self.done:
            return None
        if not self.log.is_file():
            return f"{self.folder.name} ended with code {code} before {self.log} could be written."
        said = self.log.read_text(errors="replace").rpartition(BEGUN)[2]
        lines = said.partition("\n")[2].replace("\r", "\n").strip().splitlines()
        return "\n".join([f"{self.folder.name} ended with code {code}. {self.log} ends:", *lines[-TAIL:]])


def execute(runs: Sequence[Run], *, jobs: int) -> None:
    """Do what is not done yet, `jobs` at a time; raise at the end, with what went wrong with each that failed."""
    left = [run for run in runs if not run.done]
    for run in runs:
        run.tidy()
    going: dict[Run, Any] = {}
    places: dict[Run, int] = {}
    faults = []
    with stoppable(), tqdm(total=len(runs), initial=len(runs) - len(left), unit="run") as bar:
        try:
            while left or going:
                for run in [run for run in left if run.ready][: jobs - len(going)]:
                    left.remove(run)
                    places[run] = next(place for place in range(jobs) if place not in places.values())
                    going[run] = run.start(threads(jobs), places[run])
                if not going:
                    break
                bar.set_postfix_str(", ".join(run.folder.name for run in going))
                # On a terminal now and then without an end, so that the time left is shown anew.
                wait([process.sentinel for process in going.values()], timeout=1 if sys.stderr.isatty() else None)
                for run in [run for run, process in going.items() if not process.is_alive()]:
                    bar.update()
                    places.pop(run)
                    run.tidy()
                    if fault := run.fault(going.pop(run).exitcode):
                        faults.append(fault)
                        # Whoever stops the others would not hear of it at the end.
                        tqdm.write(f"{run.folder.name} failed, and {run.log} says why.", file=sys.stderr)
        finally:
            # Whoever interrupts means all runs.
            end(list(going.values()))
    if faults or left:
        said = f"{len(faults)} of {len(runs)} runs failed" + (f", and {len(left)} were not begun." if left else ".")
        faults += [f"{run.folder.name} needs {lacking(run)}, and was not begun." for run in left]
        raise RuntimeError("\n\n".join([said, *faults]))


def threads(jobs: int) -> int:
    """How many threads each of so many runs has: those that OMP_NUM_THREADS says, or its share of the cores."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(said) if said.isdecimal() else max(cores() // jobs, 1)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lacking(run: Run) -> str:
    return ", ".join(need.name for need in run.needs if not (need / "report.json").is_file())


def results(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """What each finished run reached: {run, seed, score, minutes, TASK: its own metric}, ensembles cross-fitted too."""
    for run in runs:
        if run.finished and run.script.stem != "tune":
            report = Report.load(run.folder)
            found = {"run": run.name, "seed": run.seed, **report.values, "score": report.score}
            fair = report.beside.get("cross-fitted", {})
            if set(report.counted) <= set(fair):
                found["cross-fitted"] = report.score_of(fair)
            yield {**found, "minutes": minutes_of(run)}


def minutes_of(run: Run) -> float:
    """What a run took: a training with what led to the checkpoint it goes on from, all else from beginning to report.

    An ensemble writes its recipe at the end, and what it was begun with beside its folder.
    """
    if run.script.stem not in ANEW:
        return Report.load(run.folder).seconds / 60
    begun = run.origins if run.script.stem == "ensemble" and run.origins.is_file() else run.folder / "recipe.yaml"
    return max((run.folder / "report.json").stat().st_mtime - begun.stat().st_mtime, 0.0) / 60


def table(found: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, a line for each name: the mean over its seeds, and their standard deviation.

    >>> print(table([{"run": "plain", "seed": 0, "sst": 0.5}, {"run": "plain", "seed": 1, "sst": 0.51}]))
    | run   | seeds |           sst |
    | ----- | ----- | ------------: |
    | plain | 0, 1  | 0.505 ± 0.007 |
    """
    columns = [key for key in dict.fromkeys(key for line in found for key in line) if key not in ("run", "seed")]
    columns.sort(key="minutes".__eq__)
    lines = [["run", "seeds", *columns]]
    for name in dict.fromkeys(line["run"] for line in found):
        own = [line for line in found if line["run"] == name]
        seeds = ", ".join(str(line["seed"]) for line in own)
        lines.append([name, seeds, *(cell([line[key] for line in own if key in line], key) for key in columns)])
    return aligned(lines)


def cell(values: Sequence[float], key: str) -> str:
    if not values or not all(map(math.isfinite, values)):
        return ""
    return f"{mean(values):.1f}" if key == "minutes" else shown(spread(values))


def spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and, of several, the deviation."""
    return mean(values), stdev(values) if len(values) > 1 else None


def shown(value: tuple[float, float | None] | None) -> str:
    """A mean with its deviation, where there are any."""
    if value is None:
        return ""
    return f"{value[0]:.3f}" + ("" if value[1] is None else f" ± {value[1]:.3f}")
