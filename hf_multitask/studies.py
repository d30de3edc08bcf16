"""Several runs of the recipes, and one table of what they reach."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tqdm import tqdm

from .report import Report, aligned

__all__ = ["Run", "execute", "results", "table"]

TAIL = 400
"""How many characters of a failed run's log its message shows."""


@dataclass(frozen=True)
class Run:
    """One run of a script by a recipe file; its folder is finished when it holds a report."""

    name: str
    seed: int
    script: Path
    recipe: Path
    folder: Path

    @property
    def done(self) -> bool:
        return (self.folder / "report.json").is_file()

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")

    def start(self, threads: int) -> str | None:
        """Run it to its end, from the newest checkpoint if it was begun; what went wrong, or None."""
        command = [sys.executable, str(self.script), "--config", str(self.recipe)]
        command += ["--resume", "auto", "--overwrite", "false"]
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        with open(self.log, "w") as log:
            ended = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False)
        if ended.returncode == 0 and self.done:
            return None
        said = self.log.read_text(errors="replace").replace("\r", "\n").strip()[-TAIL:]
        return f"{self.folder.name} ended with code {ended.returncode}. {self.log} ends:\n{said}"


def execute(runs: Sequence[Run], *, jobs: int) -> None:
    """Do what is not done yet, `jobs` at a time; raise at the end, with what went wrong with each that failed."""
    left = [run for run in runs if not run.done]
    threads = max((os.cpu_count() or 1) // jobs, 1)
    faults = []
    with ThreadPoolExecutor(jobs) as pool:
        begun = [pool.submit(run.start, threads) for run in left]
        try:
            for ended in tqdm(as_completed(begun), total=len(runs), initial=len(runs) - len(left), unit="run"):
                if fault := ended.result():
                    faults.append(fault)
        except BaseException:
            # Whoever interrupts means all runs, those too that wait for their turn.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if faults:
        raise RuntimeError("\n\n".join([f"{len(faults)} of {len(runs)} runs failed.", *faults]))


def results(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """What each finished run reached: {run, seed, score, minutes, TASK: its own metric}."""
    for run in runs:
        if run.done:
            report = Report.load(run.folder)
            found = {"run": run.name, "seed": run.seed, **report.values, "score": report.score}
            yield {**found, "minutes": report.seconds / 60}


def table(found: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, a line for each name: the mean over its seeds, and their standard deviation.

    >>> print(table([{"run": "plain", "seed": 0, "sst": 0.5}, {"run": "plain", "seed": 1, "sst": 0.51}]))
    | run   | seeds |           sst |
    | ----- | ----- | ------------: |
    | plain | 0, 1  | 0.505 ± 0.007 |
    """
    columns = [key for key in dict.fromkeys(key for line in found for key in line) if key not in ("run", "seed")]
    lines = [["run", "seeds", *columns]]
    for name in dict.fromkeys(line["run"] for line in found):
        own = [line for line in found if line["run"] == name]
        seeds = ", ".join(str(line["seed"]) for line in own)
        lines.append([name, seeds, *(spread([line[key] for line in own if key in line], key) for key in columns)])
    return aligned(lines)


def spread(values: Sequence[float], key: str) -> str:
    if not values or not all(map(math.isfinite, values)):
        return ""
    if key == "minutes":
        return f"{mean(values):.1f}"
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")
