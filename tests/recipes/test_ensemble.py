"""Ensembles from their command line to what they leave."""

import json
import sys

import pytest
import torch
from commands import TINY, call, load
from transformers import AutoModel

from hf_multitask import EnsembleModel, MultitaskModel, Report
from hf_multitask.evaluation.answers import load_answers
from hf_multitask.metrics import METRICS
from hf_multitask.pages.showing import show

ENSEMBLE, EVALUATE, TRAIN = load("ensemble"), load("evaluate"), load("train")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two tiny models of different seeds, and the recipe that made them."""
    folder = tmp_path_factory.mktemp("members")
    (folder / "tiny.yaml").write_text(TINY)
    for seed in "01":
        words = ["--config", folder / "tiny.yaml", "--output_dir", folder / seed, "--seed", seed]
        code, _, err = call(TRAIN, *words)
        assert code == 0, err
    return folder


@pytest.fixture
def make(trained, tmp_path):
    """Run the recipe on both models."""

    def made(rule, *words, members=None, out="out"):
        paths = ",".join(str(trained / name) for name in members or "01")
        words = ["--members", paths, "--rule", rule, "--output_dir", tmp_path / out, *words]
        source = ["--data", "{source: {class: Demo, size: 64}}", "--cache", tmp_path / "answers"]
        return call(ENSEMBLE, *words, *source)

    return made


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("mean", ["--over", "logits"]),
        ("weighted", ["--trials", "5", "--calibrate"]),
        ("vote", ["--prior", "[1, 2]"]),
        ("threshold", ["--bars", "{sst: .1}", "--one_at_a_time"]),
        ("greedy", []),
        ("route", []),
        ("champions", ["--over", "logits"]),
        ("soup", ["--soup", "uniform", "--calibrate"]),
        ("soup", []),
    ],
)
def test_every_rule_leaves_a_model_that_says_what_the_report_says(rule, words, make, tmp_path):
    code, out, err = make(rule, *words)
    assert code == 0, err
    assert "| sst" in out
    assert "Gain over the best single member, cross-fitted: " in out
    report = Report.load(tmp_path / "out")
    assert set(report.beside) == {"cross-fitted", "best single", "best single cross-fitted"}
    assert set(report.about["gains"]["in-sample"]) == {"sst", "qqp", "sts", "score"}
    assert set(report.about["calibration"]) == ({"sst", "qqp"} if "--calibrate" in words else set())
    model = AutoModel.from_pretrained(tmp_path / "out")
    assert isinstance(model, MultitaskModel if rule == "soup" else EnsembleModel)
    data = ["--data", "{source: {class: Demo, size: 64}}"]
    code, _, err = call(EVALUATE, "--model", tmp_path / "out", "--output_dir", tmp_path / "judged", *data)
    assert code == 0, err
    again = Report.load(tmp_path / "judged")
    for name, entry in report.tasks.items():
        assert again.tasks[name][entry["metric"]] == pytest.approx(entry[entry["metric"]], abs=1e-5)
        assert again.tasks[name]["loss"] == pytest.approx(entry["loss"], rel=1e-4)


def test_the_best_single_member_stands_beside(make, trained, tmp_path):
    assert make("route")[0] == 0
    singles = [Report.load(trained / name) for name in "01"]
    found = Report.load(tmp_path / "out")
    assert found.beside["best single"] == pytest.approx(max(singles, key=lambda report: report.score).values)
    for name, value in found.values.items():
        assert value == pytest.approx(max(single.values[name] for single in singles))


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_members_that_know_no_task_in_common_are_judged_on_what_each_knows(seed, trained, tmp_path):
    for name in ("sst", "qqp"):
        words = ["--config", trained / "tiny.yaml", "--output_dir", tmp_path / name, "--tasks", f"[{name}]"]
        code, _, err = call(TRAIN, *words)
        assert code == 0, err
    members = f"{tmp_path / 'sst'},{tmp_path / 'qqp'}"
    words = ["--members", members, "--rule", "route", "--seed", seed, "--cache", "null", "--output_dir"]
    code, _, err = call(ENSEMBLE, *words, tmp_path / "out")
    assert code == 0, err
    report = Report.load(tmp_path / "out")
    assert set(report.values) == {"sst", "qqp"}
    assert not any("score" in found for found in report.about["gains"].values())
    if seed == 0:
        words = [word if word != "route" else "vote" for word in words]
        code, _, err = call(ENSEMBLE, *words, tmp_path / "zero", "--prior", "[0, 1]")
        assert code == 1
        assert f"prior is zero for all who know 'sst': {tmp_path / 'sst'}. Give one of them more." in err


def test_what_members_chose_on_dev_is_cross_fitted_too(make, tmp_path):
    assert make("weighted", "--trials", "5", out="inner")[0] == 0
    assert make("mean", members=[str(tmp_path / "inner")])[0] == 0
    inner, outer = Report.load(tmp_path / "inner"), Report.load(tmp_path / "out")
    assert inner.beside["cross-fitted"] != pytest.approx(inner.values)
    assert outer.values == pytest.approx(inner.values)
    for column in ("cross-fitted", "best single cross-fitted"):
        assert outer.beside[column] == pytest.approx(inner.beside["cross-fitted"])
    assert not any("is not cross-fitted" in note for note in outer.about["notes"])
    (tmp_path / "inner" / "answers.npz").unlink()
    assert make("mean", members=[str(tmp_path / "inner")], out="unknown")[0] == 0
    notes = Report.load(tmp_path / "unknown").about["notes"]
    assert sum("what member 0 chose is not cross-fitted" in note for note in notes) == 3
    for name, said in load_answers(tmp_path / "out").items():
        entry = outer.tasks[name]
        found = METRICS[entry["metric"]].measure(said.fair, said.labels, classes=len(entry.get("labels", ())) or None)
        assert found == pytest.approx(outer.beside["cross-fitted"][name])


def test_an_ensemble_is_a_member_and_a_teacher(make, trained, tmp_path):
    assert make("mean", "--calibrate", out="inner")[0] == 0
    words = ["--student", trained / "tiny.yaml", "--trust", ".7"]
    code, _, err = make("distill", *words, members=[str(tmp_path / "inner"), "0"])
    assert code == 0, err
    assert isinstance(AutoModel.from_pretrained(tmp_path / "out"), MultitaskModel)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["about"]["rule"] == "distill"
    first = MultitaskModel.from_pretrained(trained / "0").heads["sst"].out.weight
    assert not torch.equal(AutoModel.from_pretrained(tmp_path / "out").heads["sst"].out.weight, first)


def test_a_student_learns_what_its_teachers_know(make, trained, tmp_path):
    (tmp_path / "more.yaml").write_text((trained / "tiny.yaml").read_text() + "tasks: [cfimdb, sst]\n")
    code, _, err = make("distill", "--student", tmp_path / "more.yaml")
    assert code == 0, err
    assert list(AutoModel.from_pretrained(tmp_path / "out").tasks) == ["sst"]
    (tmp_path / "other.yaml").write_text((trained / "tiny.yaml").read_text() + "tasks: [cfimdb]\n")
    code, _, err = make("distill", "--student", tmp_path / "other.yaml", out="none")
    assert code == 1
    assert "has none of the members' tasks: qqp, sst, sts." in err


def test_mistakes_are_sentences(make, trained, tmp_path):
    code, _, err = make("mean", members=["0", "nowhere"])
    assert code == 1
    assert "nowhere is no folder here" in err
    assert make("mean")[0] == 0
    code, _, err = make("mean")
    assert code == 1
    assert "--overwrite" in err
    code, _, err = make("mean", "--overwrite", "--data.limit", "{stt: 5}")
    assert code == 1
    assert "data.limit: Unknown task 'stt'. Did you mean" in err
    code, _, err = make("threshold", "--overwrite", "--bars", "{stt: .5}")
    assert code == 1
    assert "Unknown task 'stt'. Did you mean 'sts'?" in err
    code, _, err = make("soup", "--overwrite", members=["0", str(tmp_path / "out")])
    assert code == 1


def test_what_fails_leaves_an_earlier_ensemble_as_it_was(make, trained, tmp_path, monkeypatch):
    assert make("mean")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    words = ["--config", trained / "tiny.yaml", "--output_dir", tmp_path / "sst", "--tasks", "[sst]"]
    assert call(TRAIN, *words)[0] == 0
    code, _, err = make("soup", "--overwrite", members=["0", str(tmp_path / "sst")])
    assert code == 1
    assert "make no soup" in err
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = make("weighted", "--overwrite")
    assert code == 1
    assert 'pip install -e ".[tune]"' in err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_a_student_of_another_objective_is_shown_in_its_own_terms(make, trained, tmp_path):
    brier = "{name: qqp, pair: true, objective: {class: Classification, labels: [different, duplicate]}}"
    (tmp_path / "student.yaml").write_text((trained / "tiny.yaml").read_text() + f"tasks: [{brier}]\n")
    code, _, err = make("distill", "--student", tmp_path / "student.yaml")
    assert code == 0, err
    model, shown = AutoModel.from_pretrained(tmp_path / "out"), show(tmp_path / "out")
    rows = shown.rows["qqp"]
    said = model.predict("qqp", rows["first"][:], rows["second"][:])
    torch.testing.assert_close(torch.from_numpy(shown.answers["qqp"].scores).softmax(-1).float(), said.probabilities)


def test_each_member_may_have_a_task_with_rows_of_its_own(tmp_path):
    for name in ("mood", "tone"):
        (tmp_path / f"{name}.csv").write_text(
            "text,label\n" + "".join(f"I am {w} {i},{w}\n" for i in range(8) for w in ("sad", "glad"))
        )
        rows = {"class": "Files", "train": str(tmp_path / f"{name}.csv"), "dev": str(tmp_path / f"{name}.csv")}
        task = {"name": name, "objective": {"class": "Classification", "labels": ["sad", "glad"]}}
        task["data"] = {**rows, "columns": {"first": "text"}}
        (tmp_path / f"{name}.yaml").write_text(TINY + f"tasks: [{json.dumps(task)}]\n")
        code, _, err = call(TRAIN, "--config", tmp_path / f"{name}.yaml", "--output_dir", tmp_path / name)
        assert code == 0, err
    members = f"{tmp_path / 'mood'},{tmp_path / 'tone'}"
    words = ["--members", members, "--rule", "route", "--cache", "null", "--output_dir", tmp_path / "both"]
    code, _, err = call(ENSEMBLE, *words)
    assert code == 0, err
    assert set(Report.load(tmp_path / "both").tasks) == {"mood", "tone"}
    (tmp_path / "one.csv").write_text("text,label\nI am sad,sad\n")
    one = json.dumps({"mood": {**rows, "dev": str(tmp_path / "one.csv"), "columns": {"first": "text"}}})
    code, _, err = call(ENSEMBLE, *words[:-1], tmp_path / "none", "--sources", one)
    assert code == 1
    assert "mood has one row there, and wants more" in err
    # Alone it knows its rows too, and those that have changed are not shown beside what was said of others.
    for name in ("mood", "tone"):
        (tmp_path / name).rename(tmp_path / f"{name} elsewhere")
    code, _, err = call(EVALUATE, "--model", tmp_path / "both", "--output_dir", tmp_path / "judged")
    assert code == 0, err
    assert Report.load(tmp_path / "judged").values == Report.load(tmp_path / "both").values
    with (tmp_path / "mood.csv").open("a") as file:
        file.write("I am new,sad\n")
    assert set(show(tmp_path / "both").rows) == {"tone"}
