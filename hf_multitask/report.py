"""What an evaluation found: `Report`, as JSON for programs and as a table for people."""

import json
import math
import os
import platform
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from datasets import Dataset

from .metrics import counted, mean_score, named

__all__ = ["Report", "chance", "replace_text", "versions"]

PACKAGES = ("torch", "transformers", "datasets", "accelerate", "peft", "hf_multitask")


def versions() -> dict[str, str | None]:
    """The versions that a result depends on; None for a package that runs without being installed."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


@dataclass
class Report:
    """What a predictor achieved on each task.

    `tasks` holds one entry a task: split, n, metric, scored, the metrics, loss, ci95 and, for classes,
    labels and confusion [true][predicted]. `beside` holds columns to compare with, {column: {task: value
    of the task's own metric}}. `about` is what else the reader should know, such as the recipe; its `notes` are
    sentences that the table ends with.

    >>> entry = {"split": "dev", "n": 4, "metric": "pearson", "scored": True, "pearson": 0.5}
    >>> Report({"sts": entry}, examples_per_second=8.0, seconds=0.5, seed=0).score
    0.75
    """

    tasks: dict[str, dict[str, Any]]
    examples_per_second: float
    seconds: float
    seed: int
    trunk: str | None = None
    beside: dict[str, dict[str, float]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str | None] = field(default_factory=versions)

    @property
    def values(self) -> dict[str, float]:
        """Each task's own metric."""
        return {name: entry[entry["metric"]] for name, entry in self.tasks.items()}

    @property
    def counted(self) -> list[str]:
        """The tasks that enter the score."""
        return counted(self.tasks)

    @property
    def score(self) -> float:
        return self.score_of(self.values)

    def score_of(self, values: dict[str, float]) -> float:
        return mean_score(self.tasks, values)

    def to_dict(self) -> dict[str, Any]:
        content = asdict(self)
        return {"tasks": content.pop("tasks"), "score": self.score, **content}

    def to_json(self) -> str:
        content = self.to_dict()
        if faults := list(not_finite(content)):
            raise ValueError(
                f"A report holds finite numbers, since JSON has no others. Got {', '.join(faults)}. "
                "Leave such a number out, or put None and say why beside it."
            )
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """One row a task, then the score, then what else one needs to read them."""
        head = ["task", "metric", "rows", "model", "95% interval", *self.beside]
        rows = [
            [name, entry["metric"], f"{entry['n']:,}", shown(self.values[name]), interval(entry.get("ci95"))]
            + [shown(column.get(name)) for column in self.beside.values()]
            for name, entry in self.tasks.items()
        ]
        columns = [self.score_of(c) if set(self.counted) <= set(c) else None for c in self.beside.values()]
        rows.append(["score", "", "", shown(self.score), "", *map(shown, columns)])
        return f"{aligned([head, *rows])}\n\n{self.footnote()}\n"

    def footnote(self) -> str:
        splits = ", ".join(dict.fromkeys(entry["split"] for entry in self.tasks.values()))
        correlated = not all(named(self.tasks[name]["metric"]).of_classes for name in self.counted)
        rule = f"Score: mean of {', '.join(self.counted)}{', a correlation r as (r + 1) / 2' if correlated else ''}."
        trunk = f"Trunk {self.trunk}. " if self.trunk else ""
        speed = f"{self.examples_per_second:,.1f} examples per second"
        return "\n".join([rule, f"{trunk}Split {splits}, seed {self.seed}, {speed}.", *self.about.get("notes", ())])

    def save(self, folder: str | os.PathLike) -> None:
        """Write report.md, then report.json: where the latter lies, the report is whole."""
        table, content = self.to_markdown(), self.to_json()
        Path(folder).mkdir(parents=True, exist_ok=True)
        replace_text(Path(folder, "report.md"), table)
        replace_text(Path(folder, "report.json"), content)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "Report":
        path = Path(folder, "report.json")
        if not path.exists():
            raise FileNotFoundError(f"No finished report in '{folder}': report.json is not there. Evaluate first.")
        content = json.loads(path.read_text(encoding="utf-8"))
        if "tasks" not in content:
            raise ValueError(f"{path} tells of no model, but of a search, whose own tables and pictures lie beside it.")
        return cls(**{part.name: content[part.name] for part in fields(cls)})


def chance(dataset: Dataset, metric: str, classes: int | None = None) -> float:
    """The metric of always giving the commonest label of `dataset`, or the mean of its numbers.

    `classes` is how many label ids there are, where the rows need not have all.

    >>> chance(Dataset.from_dict({"label": [0, 1, 1, 2]}), "accuracy")
    0.5
    """
    labels = dataset.with_format(None)["label"][:]
    judge = named(metric)
    answer = Counter(labels).most_common(1)[0][0] if judge.of_classes else mean(labels)
    return judge.measure(np.full(len(labels), answer), np.asarray(labels), classes=classes)


def replace_text(path: Path, text: str) -> None:
    """Write a file aside and rename it, so that nobody ever sees half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(aside, path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        if error.filename is None:
            # A full disk names no file.
            raise type(error)(error.errno, error.strerror or str(error), str(path)) from error
        raise


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def not_finite(value: Any, path: str = "") -> Iterator[str]:
    """The places of `value`, with what stands there, whose numbers are infinite or not a number."""
    if isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from not_finite(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{path} = {value}"


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def interval(bounds: list[float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def aligned(rows: list[list[str]], words: int = 2) -> str:
    """A Markdown table whose columns also line up as plain text: first some of words, then numbers."""

    def line(cells: list[str], widths: list[int]) -> str:
        sized = list(zip(cells, widths, strict=True))
        left, right = [c.ljust(w) for c, w in sized[:words]], [c.rjust(w) for c, w in sized[words:]]
        return f"| {' | '.join([*left, *right])} |"

    rows = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * width for width in widths[:words]] + ["-" * (width - 1) + ":" for width in widths[words:]]
    return "\n".join(line(cells, widths) for cells in (rows[0], rule, *rows[1:]))
