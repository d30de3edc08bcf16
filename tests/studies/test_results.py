"""What may be shown of a study: which files there are, what stands in them, and what does not."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, TINY, call, load
from PIL import Image

from hf_multitask.data.demo import Demo
from hf_multitask.data.rows import SPLITS, Place, Unreadable
from hf_multitask.pages.page import write_page
from hf_multitask.pages.runs import run_page
from hf_multitask.pages.showing import show
from hf_multitask.plots import png, scatter
from hf_multitask.recipe import read_recipe
from hf_multitask.report import Report
from hf_multitask.studies.results import best_run, check_results, fitted, pictures, write_results
from hf_multitask.studies.runs import Run, minutes_of, results, table
from hf_multitask.studies.sections import ReproduceRecipe
from hf_multitask.studies.standing import standings
from hf_multitask.studies.tables import write_tables
from hf_multitask.tasks import QQP, SST, STS

RECIPES = {name: load(name) for name in ("train", "ensemble", "tune", "evaluate", "reproduce")}
SOURCE = {"class": "Demo", "size": 64}
PUBLISHED = [
    {"row": "Small rate", "at": "Table 1", "run": "rate-0.001", "sst": 0.5, "qqp": 0.8, "sts": 0.9},
    {"row": "Large rate", "at": "Table 1", "run": "rate-0.01"},
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study but for one run, its trunk in a folder: (its words, its recipe, its runs)."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.yaml").write_text(TINY)
    code, _, err = call(RECIPES["train"], "--config", folder / "tiny.yaml", "--output_dir", folder / "begun")
    assert code == 0, err
    tiny = str(folder / "tiny.yaml")
    search = {"trials": 2, "search": {"training.learning_rate": {"low": 1e-3, "high": 1e-2}}}
    content = {
        "title": "Rates",
        "recipe": tiny,
        "output_dir": str(folder / "out"),
        "trunk": str(folder / "begun"),
        "seeds": [0],
        "published": PUBLISHED,
        "runs": {
            "rate": {"sweep": {"training.learning_rate": [0.001, 0.01]}},
            "single": {"settings": {"tasks": ["sst"]}},
            "both": {
                "script": "ensemble",
                "members": ["rate-0.001", "rate-0.01"],
                "settings": {"data": {"source": SOURCE}},
            },
            "taught": {
                "script": "ensemble",
                "members": ["rate-0.001", "rate-0.01"],
                "student": "rate-0.01",
                "settings": {"rule": "distill"},
            },
            "search": {"script": "tune", "recipe": tiny, "settings": search},
        },
    }
    (folder / "study.yaml").write_text(json.dumps(content))
    words = ["--config", str(folder / "study.yaml")]
    recipe = read_recipe(ReproduceRecipe, words)
    runs = recipe.build(ROOT / "recipes")
    for run in runs:
        code, _, err = call(RECIPES[run.script.stem], "--config", run.recipe)
        assert code == 0, err
    never = Run("never", 0, ROOT / "recipes" / "train.py", folder / "never-0.yaml", folder / "out" / "never-0")
    return words, recipe, [*runs, never]


@pytest.fixture(scope="module")
def shown(study, tmp_path_factory):
    """The folder of its results, what was said, and about.json."""
    _, recipe, runs = study
    folder = tmp_path_factory.mktemp("results") / "rates"
    said = write_results(recipe, runs, write_tables(recipe, runs), folder)
    return folder, said, json.loads((folder / "about.json").read_text())


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_holds_what_about_names(shown, study):
    folder, said, about = shown
    assert files_of(folder) == {"about.json", "table.md", "table.json", *about["files"]}
    assert {
        "rows-by-score.png",
        "sweep-of-rate.png",
        "search-0-history.png",
        "sst-confusion.png",
        "sts-scatter.png",
    } <= set(about["files"])
    assert (about["trunk"], about["seeds"], about["unfinished"]) == ("begun", [0], ["never-0"])
    assert set(about["minutes"]) == {run.folder.name for run in study[2][:-1]}
    assert about["best"]["run"] in ("rate-0.001", "rate-0.01", "both", "taught")
    report = Report.load(Path(study[1].output_dir, f"{about['best']['run']}-0"))
    assert (about["best"]["dev"], about["best"]["score"]) == (report.values, report.score)
    chosen = report.beside.get("cross-fitted")
    assert ("crossfitted_by_seed" in about["best"]) == (chosen is not None)
    assert about["machine"]["cores"]
    assert about["versions"] == report.versions
    assert about["best"]["run"] in said
    assert str(folder) in said


@pytest.mark.parametrize("content", ['{"files": ["thesis.tex"]}', '{"name": "my project"}', "[1]", "no JSON", None])
def test_a_folder_of_somebody_else_is_left_alone(content, study, tmp_path):
    name = "table.md" if content is None else "about.json"
    (tmp_path / "thesis.tex").write_text("mine")
    (tmp_path / name).write_text(content or "mine")
    code, _, err = call(RECIPES["reproduce"], *study[0], "--results", tmp_path)
    assert code == 1
    assert f"results: {tmp_path} holds a {name} that no study wrote. Remove it" in err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "thesis.tex": "mine",
        name: content or "mine",
    }


def test_results_that_were_not_written_to_their_end_say_so_and_are_written_anew(study, tmp_path, monkeypatch):
    _, recipe, runs = study
    made = write_tables(recipe, runs)
    with monkeypatch.context() as patched:
        patched.setattr("hf_multitask.studies.results.answer_test", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_results(recipe, runs, made, tmp_path)
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["notes"] == ["These results were not written to their end."]
    write_results(recipe, runs, made, tmp_path)
    whole = json.loads((tmp_path / "about.json").read_text())
    assert whole["files"]
    assert about["notes"][0] not in whole["notes"]
    # The next time what is there of before is still known.
    with monkeypatch.context() as patched:
        patched.setattr("hf_multitask.studies.results.answer_test", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_results(recipe, runs, made, tmp_path)
    again = json.loads((tmp_path / "about.json").read_text())
    assert set(again["files"]) == set(whole["files"])
    assert "best" not in again


def interrupted(*_):
    raise KeyboardInterrupt


def test_results_of_another_study_or_scale_are_left_alone(study, tmp_path):
    _, recipe, runs = study
    write_results(recipe, runs, write_tables(recipe, runs), tmp_path)
    for other, said in (({"title": None}, "a study without a title"), ({"scale": "demo"}, "'Rates' at scale demo")):
        with pytest.raises(ValueError, match=f"holds those of 'Rates'. This is {said}. Remove it, or name another"):
            check_results(replace(recipe, **other), tmp_path)
    check_results(recipe, tmp_path)
    with pytest.raises(ValueError, match="is output_dir, where the runs are"):
        replace(recipe, results=recipe.output_dir)


def test_a_study_without_a_paper_has_a_page_too(study, tmp_path):
    _, recipe, runs = study
    write_tables(replace(recipe, output_dir=str(tmp_path), published=[], reports=True), runs)
    page = (tmp_path / "report.html").read_text()
    assert "Beside each other" in page
    assert "never-0/report.html" not in page


def test_a_table_tells_the_seeds_and_trunks_that_there_are(study):
    _, recipe, runs = study
    tables = write_tables(replace(recipe, seeds=[0, 1], trunk=None), runs)
    assert "Trunk begun, seed 0 of 0, 1, the others being unfinished." in tables.text
    assert "of rows alone" in tables.text
    assert "Small rate (seed 0)" in tables.text


def test_notes_of_a_scale_stand_in_its_tables_alone(study):
    _, recipe, runs = study
    noted = replace(recipe, notes=["Always."], scale_notes={"small": ["Small it is."]})
    small = write_tables(replace(noted, scale="small"), runs).text
    assert small.index("Always.") < small.index("Small it is.")
    for scale in ("full", None):
        text = write_tables(replace(noted, scale=scale), runs).text
        assert "Always." in text
        assert "Small it is." not in text
    with pytest.raises(ValueError, match=r"scale_notes: Unknown scale 'smal'\. Did you mean 'small'"):
        replace(recipe, scale_notes={"smal": []})


def test_a_table_without_a_reference_has_ensembles_cross_fitted_too(study):
    found = {line["run"]: line for line in results(study[2])}
    both = Report.load(Path(study[1].output_dir, "both-0"))
    assert found["both"]["cross-fitted"] == pytest.approx(both.score_of(both.beside["cross-fitted"]))
    assert "cross-fitted" not in found["rate-0.01"]
    assert "| cross-fitted | minutes |" in table(list(found.values())).splitlines()[0]


def test_only_a_table_of_ensembles_speaks_of_cross_fitting(study):
    _, recipe, runs = study
    assert "cross-fitted is their score" in write_tables(recipe, runs).text
    alone = [run for run in runs if run.script.stem == "train"]
    assert "cross-fitted" not in write_tables(recipe, alone).text


def test_an_ensembles_minutes_begin_before_its_members_are_asked(study):
    both = next(run for run in study[2] if run.name == "both")
    both.origins.write_text("{}")
    end = (both.folder / "report.json").stat().st_mtime
    os.utime(both.origins, (end - 90, end - 90))
    assert minutes_of(both) == pytest.approx(1.5)
    both.origins.unlink()
    assert minutes_of(both) < 1


def test_pictures_are_small_and_whole(shown):
    folder, _, _ = shown
    for path in folder.glob("*.png"):
        assert path.stat().st_size <= 200_000
        with Image.open(path) as image:
            image.verify()
    assert sum((folder / name).stat().st_size for name in files_of(folder)) < 2_000_000


def test_no_text_no_weight_and_no_place_is_there(shown, study):
    folder, _, _ = shown
    assert {Path(name).suffix for name in files_of(folder)} == {".json", ".md", ".png", ".csv"}
    told = "\n".join((folder / name).read_text() for name in files_of(folder) if not name.endswith(".png"))
    demo = Demo(64)
    texts = {
        text
        for task in (SST, QQP, STS)
        for split in SPLITS
        for row in demo.rows(task, split)
        for text in (row.first, row.second)
        if text
    }
    assert len(texts) > 200
    assert not [text for text in texts if text in told]
    assert str(Path(study[1].output_dir).parent) not in told
    assert str(Path.home()) not in told
    assert not re.search(r"(?<![\w.])/\w+/", told)


def test_no_page_goes_there_since_pages_show_texts(study, tmp_path):
    _, recipe, runs = study
    recipe, first = replace(recipe, reports=True), next(Demo(64).rows(SST, "dev")).first
    finished = [run for run in runs if run.finished and run.script.stem != "tune"]
    pages = [write_page(run_page(show(run.folder)), run.folder) for run in finished]
    assert any(first in page.read_text() for page in pages)
    tables = write_tables(recipe, runs)
    assert (Path(recipe.output_dir) / "report.html").is_file()
    write_results(recipe, runs, tables, tmp_path)
    assert not [name for name in files_of(tmp_path) if name.endswith(".html")]
    assert not [name for name in files_of(tmp_path) if first.encode() in (tmp_path / name).read_bytes()]


def test_predictions_are_those_of_evaluate(shown, study, tmp_path):
    folder, _, about = shown
    model = Path(study[1].output_dir, f"{about['best']['run']}-0")
    words = ["--model", model, "--split", "test", "--data.source", json.dumps(SOURCE), "--output_dir", tmp_path]
    code, _, err = call(RECIPES["evaluate"], *words)
    assert code == 0, err
    theirs = {path.name: path.read_text() for path in tmp_path.glob("*.csv")}
    assert set(theirs) == {"sst-test-output.csv", "para-test-output.csv", "sts-test-output.csv"}
    assert {path.name: path.read_text() for path in (folder / "predictions").iterdir()} == theirs
    assert about["best"]["test"] == Report.load(tmp_path).values


def test_the_command_says_where_results_are(study, shown, tmp_path):
    code, out, err = call(RECIPES["reproduce"], *study[0], "--results", tmp_path / "here")
    assert code == 0, err
    assert f"What may be shown is in {tmp_path / 'here'}." in out
    assert files_of(tmp_path / "here") == files_of(shown[0])
    assert (tmp_path / "here" / "table.md").read_text().strip() in out


def unread(self, task, split):
    raise Unreadable(Place("Demo"), "there is none")


@pytest.mark.parametrize("lacking", ["has no test split", "has a test split that cannot be read"])
def test_without_a_test_split_a_sentence_says_so(lacking, study, monkeypatch, tmp_path):
    _, recipe, runs = study
    tables = write_tables(recipe, runs)
    # What an earlier call left and this one does not make goes away; what is another's stays.
    write_results(recipe, runs, tables, tmp_path)
    (tmp_path / "predictions" / "mine.txt").write_text("mine")
    rows = Demo.rows
    if lacking == "has no test split":
        monkeypatch.setattr(Demo, "splits", lambda self, task: SPLITS[: 2 if task.name == "sts" else 3])
    else:
        monkeypatch.setattr(
            Demo,
            "rows",
            lambda self, task, split: (unread if (task.name, split) == ("sts", "test") else rows)(self, task, split),
        )
    said = write_results(recipe, runs, tables, tmp_path)
    assert f"sts: the data {lacking}, so that nothing is predicted." in said
    found = {path.name for path in (tmp_path / "predictions").iterdir()}
    assert found == {"sst-test-output.csv", "para-test-output.csv", "mine.txt"}


def test_beside_an_ensemble_the_best_single_run_has_the_pictures_that_it_lacks(study):
    _, recipe, runs = study
    both, rate = (next(run for run in runs if run.name == name) for name in ("both", "rate-0.01"))
    found = pictures(recipe, runs, standings((), runs), both, rate)
    assert {"sst: member agreement", "best single: learning curves", "best single: sst: t-SNE"} <= set(found)
    assert not [title for title in found if title.removeprefix("best single: ") in set(found) - {title}]
    assert not [title for title in pictures(recipe, runs, standings((), runs), rate, rate) if "best single" in title]


def test_pictures_share_the_room_that_is_left():
    draw = np.random.default_rng(0)
    large = {str(i): scatter(draw.random(500) * 5, draw.random(500) * 5, title="sts", low=0, high=5) for i in range(3)}
    room = sum(len(png(figure)) for figure in large.values()) // 2
    small = fitted(large, room)
    assert list(small) == list(large)
    assert sum(map(len, small.values())) <= room


def reached(name, seed, score, *, tasks=("sst", "qqp", "sts"), script="train"):
    run = Run(name, seed, Path(f"{script}.py"), Path("x.yaml"), Path(f"{name}-{seed}"))
    entry = {"split": "dev", "n": 4, "metric": "accuracy", "scored": True, "accuracy": score}
    return run, Report(dict.fromkeys(tasks, entry), 1.0, 1.0, seed)


def test_the_best_row_has_the_best_mean_and_lacks_no_task():
    runs = [reached("lucky", 0, 0.9), reached("lucky", 1, 0.2), reached("steady", 0, 0.6), reached("steady", 1, 0.7)]
    runs += [reached("single", 0, 1.0, tasks=("sst",)), reached("stage", 0, 1.0, script="pretrain")]
    runs += [reached("unfinished", 0, 0.8)]
    best = best_run(dict(runs))
    assert (best.name, best.seed) == ("steady", 1)
    # Whatever else a run is judged by does not count.
    run, report = reached("more", 0, 0.5)
    report.tasks["own"] = {**report.tasks["sst"], "accuracy": 1.0}
    assert report.score > 0.6
    assert best_run({**dict(runs[2:3]), run: report}).name == "steady"
    assert best_run(dict(runs[4:6])) is None
    # Nor does what an ensemble reaches on the rows that it was chosen by.
    run, report = reached("chosen", 0, 0.9)
    report.beside["cross-fitted"] = dict.fromkeys(report.tasks, 0.2)
    assert best_run({**dict(runs[2:3]), run: report}).name == "steady"
