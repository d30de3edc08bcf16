"""What of a study may be shown: its tables, pictures, the best row's answers to the test texts, and how it was made."""

import json
import logging
import os
import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch
from datasets import Dataset

from ..assembly.answering import answered, write_answers
from ..assembly.finished import made_by, own_sources
from ..assembly.models import load_model
from ..assembly.rows import load_rows
from ..data.rows import DataError
from ..models.construct import construct
from ..pages.runs import run_pictures
from ..pages.showing import show
from ..plots import can_plot, png, within
from ..publishing.manifest import without_places
from ..report import Report, replace_text
from ..schema import RecipeError
from ..sections.evaluate import EvaluateRecipe
from ..sections.parts import SOURCES
from ..tasks import Task
from ..training.backends import processes
from .pictures import study_pictures
from .runs import Run, minutes_of, threads
from .sections import ReproduceRecipe
from .standing import CORE, Standing, score_of, standings
from .tables import Tables, trunk_of

__all__ = ["best_run", "check_results", "write_results"]

logger = logging.getLogger(__name__)

FILE = "about.json"
WHOSE = {"scale", "seeds", "machine", "unfinished"}
"""By what an about.json is known to be a study's."""
PREDICTIONS = "predictions"
EACH = 200_000
"""Most bytes of a picture."""
WHOLE = 2_000_000
"""Most bytes of everything together."""


class Said(NamedTuple):
    """The files with a model's answers to the test split, its scores where that has labels, and what is lacking."""

    files: dict[str, str]
    scores: dict[str, float]
    notes: list[str]


def write_results(recipe: ReproduceRecipe, runs: Sequence[Run], tables: Tables, folder: str | Path) -> str:
    """Fill a folder with what may be shown of the finished runs, and say in words what is there.

    Neither texts nor weights nor places on this machine go there. about.json names every file; what an earlier one
    named and this one does not is taken away. A first one says whose folder it is while the rest is being made.
    """
    folder = Path(folder)
    check_results(recipe, folder)
    folder.mkdir(parents=True, exist_ok=True)
    before = named_in(folder) or []
    about = settings(recipe, runs)
    begun = {**about, "machine": machine(), "unfinished": [], "files": dict.fromkeys(before, "from before")}
    write_about(folder, {**begun, "notes": ["These results were not written to their end."]})
    Tables(tables.text, without_places(tables.content)).save(folder)
    reports = {run: Report.load(run.folder) for run in runs if run.finished and run.script.stem != "tune"}
    best = best_run(reports)
    said = Said({}, {}, [f"No row has all of {', '.join(CORE)}, so that none is the best."])
    if best is not None:
        said = answer_test(best.folder, folder / PREDICTIONS)
    notes = list(said.notes)
    drawn: dict[str, Any] = {}
    if can_plot():
        drawn = pictures(recipe, runs, tables.rows or standings((), runs), best, best_run(trained(reports)))
    else:
        notes.append("There are no pictures: matplotlib is not installed.")
    written = [folder / name for name in ("table.md", "table.json", *said.files)]
    room = WHOLE - sum(path.stat().st_size for path in written)
    files = dict(said.files)
    for title, picture in fitted(drawn, room).items():
        files[name := file_of(title)] = title
        (folder / name).write_bytes(picture)
    about |= {"best": None if best is None else described(best, reports, tables.rows, said)}
    about |= {**spent(recipe, runs), "machine": machine(), "versions": versions(reports), "files": files}
    for name in set(before) - set(files):
        (folder / name).unlink(missing_ok=True)
    write_about(folder, about | {"notes": notes})
    chosen = [] if best is None else [f"The best row is {best.name}, its best seed {best.seed}."]
    return " ".join([*chosen, *notes, f"What may be shown is in {folder}."])


def write_about(folder: Path, content: dict[str, Any]) -> None:
    replace_text(folder / FILE, json.dumps(without_places(content), indent=2) + "\n")


def check_results(recipe: ReproduceRecipe, folder: Path) -> None:
    """Raise where a folder holds files of these names that no earlier call for the same study and scale wrote."""
    mine = {"table.md", "table.json", FILE, PREDICTIONS}
    if not folder.is_dir() or not (there := sorted(mine & set(os.listdir(folder)))):
        return
    about, said = about_of(folder), f"results: {folder} holds a {there[0]} that no study wrote."
    if about is not None:
        if all(about.get(name) == vars(recipe)[name] for name in ("title", "scale")):
            return
        said = f"results: {folder} holds those of {called(about.get('title'), about.get('scale'))}."
        said += f" This is {called(recipe.title, recipe.scale)}."
    raise RecipeError([f"{said} Remove it, or name another folder."])


def called(title: str | None, scale: str | None) -> str:
    """How a study is told from others."""
    named = f"'{title}'" if title else "a study without a title"
    return f"{named} at scale {scale}" if scale else named


def named_in(folder: Path) -> list[str] | None:
    """The files that an earlier call put into a folder, as its about.json names them; None where that is another's."""
    about, home = about_of(folder), folder.resolve()
    return None if about is None else [n for n in about["files"] if (folder / n).resolve().is_relative_to(home)]


def about_of(folder: Path) -> dict[str, Any] | None:
    """What an earlier call wrote into a folder's about.json; None where that is another's or not there."""
    with suppress(ValueError, OSError):
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if isinstance(content, dict) and isinstance(content.get("files"), dict) and set(content) >= WHOSE:
            return content
    return None


def best_run(reports: Mapping[Run, Report]) -> Run | None:
    """Of the row with the best mean score over its seeds the best seed; ensembles count by their cross-fitted scores.

    What lacks a task is none, and neither is what lacks seeds that others have: one may be lucky.
    """
    scores = {
        run: score_of(report, values=fair_values(report))
        for run, report in reports.items()
        if run.script.stem in ("train", "ensemble") and set(CORE) <= set(report.tasks)
    }
    if not scores:
        return None
    seeds = Counter(run.name for run in scores)
    means = {name: mean(rows_of(scores, name).values()) for name in seeds if seeds[name] == max(seeds.values())}
    own = rows_of(scores, max(means, key=lambda name: means[name]))
    return max(own, key=lambda run: own[run])


def trained(reports: Mapping[Run, Report]) -> dict[Run, Report]:
    """Those of single models."""
    return {run: report for run, report in reports.items() if run.script.stem == "train"}


def fair_values(report: Report) -> Mapping[str, float]:
    """What a run reached on rows by which nobody chose it."""
    return report.beside.get("cross-fitted", report.values)


def rows_of(scores: Mapping[Run, float], name: str) -> dict[Run, float]:
    return {run: score for run, score in scores.items() if run.name == name}


def answer_test(folder: Path, place: Path) -> Said:
    """What evaluate.py writes for the test split, from where the model's recipe has its rows."""
    recipe, model = made_by(folder), load_model(str(folder)).to(processes().device)
    own, rows = own_sources(recipe), dict[str, Dataset]()
    lacking: dict[str, list[str]] = {}
    for name in model.tasks:
        task = Task.from_description(name, model.config.known(name))
        source = construct("source", SOURCES, own.get(name) or recipe.data.source)
        if "test" not in source.splits(task):
            lacking.setdefault("has no test split", []).append(name)
            continue
        try:
            rows |= load_rows([task], recipe.data, ["test"], seed=recipe.seed, own=own)["test"]
        except DataError as error:
            logger.warning("%s", error)
            lacking.setdefault("has a test split that cannot be read", []).append(name)
    notes = [f"{', '.join(names)}: the data {why}, so that nothing is predicted." for why, names in lacking.items()]
    if not rows:
        return Said({}, {}, notes)
    values, report = answered(model, rows, split="test", batch_size=EvaluateRecipe.batch_size, seed=recipe.seed)
    files = write_answers(place, "test", rows, values)
    titles = [f"{name}: answers to the test split" for name in rows]
    found = {f"{place.name}/{path.name}": title for path, title in zip(files, titles, strict=True)}
    return Said(found, {} if report is None else report.values, notes)


def pictures(
    recipe: ReproduceRecipe, runs: Sequence[Run], rows: Sequence[Standing], best: Run | None, single: Run | None
) -> dict[str, Any]:
    """The sweeps, of each search the first seed's pictures, and those of the best row.

    An ensemble has neither a course nor embeddings, of which the best single run has pictures.
    """
    firsts: dict[str, Run] = {}
    for run in runs:
        if run.finished:
            firsts.setdefault(run.name, run)
    found = study_pictures(recipe, rows, list(firsts.values()))
    own = {} if best is None else run_pictures(show(best.folder))
    alone = {} if single in (None, best) else run_pictures(show(single.folder))
    return found | own | {f"best single: {title}": picture for title, picture in alone.items() if title not in own}


def fitted(found: Mapping[str, Any], room: int) -> dict[str, bytes]:
    """Pictures as PNG files, each small enough, and all of them together."""
    whole = {title: png(picture) for title, picture in found.items()}
    small: dict[str, bytes] = {}
    for most in (EACH, EACH // 2, EACH // 4, EACH // 8, EACH // 16):
        small = {title: within(picture, most) for title, picture in whole.items()}
        if sum(map(len, small.values())) <= room:
            break
    return small


def file_of(title: str) -> str:
    """The name of a picture's file.

    >>> file_of("sst: t-SNE")
    'sst-t-sne.png'
    """
    return re.sub(r"[^\w.]+", "-", title.lower()).strip("-") + ".png"


def settings(recipe: ReproduceRecipe, runs: Sequence[Run]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "title": recipe.title,
        "scale": recipe.scale,
        "trunk": trunk_of(recipe, runs),
        "seeds": recipe.seeds,
    }
    return {**found, "only": recipe.only, "jobs": recipe.jobs}


def described(best: Run, reports: Mapping[Run, Report], rows: Sequence[Standing], said: Said) -> dict[str, Any]:
    """Which run is the best: its row as published, its scores on dev, and on test where that has labels."""
    each = {run.seed: report for run, report in reports.items() if run.name == best.name}
    own = {seed: score_of(report) for seed, report in each.items()}
    found = {"run": best.name, "seed": best.seed, "rows": [row.row.row for row in rows if row.row.run == best.name]}
    found |= {"score": own[best.seed], "dev": reports[best].values, "score_by_seed": own, "mean": mean(own.values())}
    if "cross-fitted" in reports[best].beside:
        fair = {seed: score_of(report, values=fair_values(report)) for seed, report in each.items()}
        found |= {"crossfitted": fair[best.seed], "crossfitted_by_seed": fair, "mean_crossfitted": mean(fair.values())}
    return found | ({"test": said.scores} if said.scores else {})


def spent(recipe: ReproduceRecipe, runs: Sequence[Run]) -> dict[str, Any]:
    """The minutes of each finished run, and those of all of them times the threads that each had."""
    minutes = {run.folder.name: round(minutes_of(run), 2) for run in runs if run.finished}
    each = threads(recipe.jobs)
    found = {"minutes": minutes, "threads": each, "processor_minutes": round(sum(minutes.values()) * each, 1)}
    return {**found, "unfinished": [run.folder.name for run in runs if not run.finished]}


def machine() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {"processor": processor(), "cores": os.cpu_count(), "gpus": gpus}


def processor() -> str:
    """What the processor is called; Linux alone says more than its kind."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions(reports: Mapping[Run, Report]) -> dict[str, str]:
    """The versions that the runs were made with; several where they differ."""
    names = dict.fromkeys(name for report in reports.values() for name in report.versions)
    every = {name: dict.fromkeys(str(report.versions.get(name)) for report in reports.values()) for name in names}
    return {name: ", ".join(found) for name, found in every.items()}
