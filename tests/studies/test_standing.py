from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hf_multitask.evaluation.answers import Answers, load_answers, save_answers
from hf_multitask.metrics import bootstrap
from hf_multitask.report import Report
from hf_multitask.studies.runs import Run
from hf_multitask.studies.standing import Published, standings, table

draw = np.random.default_rng(3)
LABELS = {"sst": draw.integers(0, 5, 80), "qqp": draw.integers(0, 2, 80), "sts": draw.random(80) * 5}
METRICS = {"sst": "accuracy", "qqp": "accuracy", "sts": "pearson"}


def finished(tmp_path, name, seed, wrong):
    """A run whose answers are wrong in a share of the rows."""
    said = {}
    for task, labels in LABELS.items():
        other = draw.permutation(labels)
        values = np.where(draw.random(80) < wrong, other, labels)
        said[task] = Answers(np.zeros((80, 1)), values, labels)
    entries = {
        task: {"split": "dev", "n": 80, "metric": metric, "scored": True, metric: measured(metric, said[task])}
        for task, metric in METRICS.items()
    }
    run = Run(name, seed, Path("train.py"), tmp_path / "x.yaml", tmp_path / f"{name}-{seed}")
    save_answers(said, run.folder)
    Report(entries, 1.0, 60.0, seed, about={"steps_per_second": 2.0}).save(run.folder)
    return run


def measured(metric, said):
    if metric == "accuracy":
        return float((said.values == said.labels).mean())
    return float(np.corrcoef(said.values, said.labels)[0, 1])


@pytest.fixture
def runs(tmp_path):
    shares = {"plain": 0.5, "same": 0.5, "good": 0.1}
    return [finished(tmp_path, name, seed, wrong) for seed in (0, 1) for name, wrong in shares.items()]


ROWS = [
    Published("Good", "Table 1, row 2", "good", sst=0.5, qqp=0.8, sts=0.9, score=0.75),
    Published("Plain", "Table 1, row 1", "plain", sst=0.5, qqp=0.8),
    Published("Lost", "Table 2"),
]


def test_rows_stand_beside_ours_and_say_what_is_noise(runs):
    good, plain, lost, same = standings(ROWS, runs, reference="plain", sts="unit")
    reports = [Report.load(run.folder) for run in runs if run.name == "good"]
    assert good.ours["score"][0] == pytest.approx(np.mean([report.score for report in reports]))
    assert good.theirs["sts"] == pytest.approx(0.8)
    low, high = good.interval
    assert low < good.ours["score"][0] < high
    assert good.gain.gain == pytest.approx(good.ours["score"][0] - plain.ours["score"][0])
    assert plain.gain is None
    assert lost.ours == {}
    assert (same.row.row, same.row.at) == ("same", "not in the paper")
    lines = table([good, plain, lost, same], reference="plain").splitlines()
    assert lines[2].rstrip(" |").endswith("no")
    assert lines[5].rstrip(" |").endswith("yes")
    assert "not given" in lines[3]


def test_a_row_may_be_compared_with_another_run_in_one_task(runs):
    rows = [ROWS[0], Published("Same", "Table 3", "same", against="good", by="sst")]
    good, same, plain = standings(rows, runs, reference="plain")
    assert same.gain.gain == pytest.approx(same.ours["sst"][0] - good.ours["sst"][0])
    assert good.gain.gain == pytest.approx(good.ours["score"][0] - plain.ours["score"][0])
    assert " in sst, against good |" in table([good, same, plain], reference="plain")


def test_without_a_paper_runs_stand_beside_each_other(runs):
    lines = table(standings((), runs, reference="plain"), reference="plain").splitlines()
    names = [word.strip() for word in lines[0].strip("| ").split("|")]
    assert names == ["row", "sst", "qqp", "sts", "score", "95% interval", "it/s", "against plain", "inside the noise"]
    assert [line.split()[1] for line in lines[2:]] == ["plain", "same", "good"]
    assert [line.split()[-2] in ("yes", "no") for line in lines[2:]] == [False, True, True]


def test_the_score_of_an_ensemble_stands_cross_fitted_beside_it(runs):
    for run in (run for run in runs if run.name == "good"):
        report = Report.load(run.folder)
        report.beside["cross-fitted"] = {"sst": 0.4 + 0.1 * run.seed, "qqp": 0.8, "sts": 0.6, "sick": 0.1}
        report.save(run.folder)
    good, plain, _, _ = standings(ROWS, runs, reference="plain")
    assert good.crossfitted == pytest.approx(((0.45 + 0.8 + 0.8) / 3, 0.1 / 3 / 2**0.5))
    assert (plain.crossfitted, plain.describe()["crossfitted"]) == (None, None)
    assert good.describe()["crossfitted"]["mean"] == good.crossfitted[0]
    head, _, above, below = table([good, plain], reference="plain").splitlines()
    place = [word.strip() for word in head.split("|")].index("cross-fitted")
    assert head.split("|")[place - 1].strip() == "95% interval"
    assert [line.split("|")[place].strip() for line in (above, below)] == ["0.683 ± 0.024", ""]


def test_an_ensemble_is_compared_by_what_it_says_cross_fitted(runs):
    good, same = standings(ROWS[:1], runs, reference="plain")[::2]
    for run in (run for run in runs if run.name == "good"):
        said = load_answers(run.folder)
        other = load_answers(run.folder.with_name(f"same-{run.seed}"))
        fair = {name: said[name]._replace(fair_values=other[name].values) for name in said}
        save_answers(fair, run.folder)
    fairly = standings(ROWS[:1], runs, reference="plain")[0]
    assert fairly.ours == good.ours
    assert fairly.interval == good.interval
    assert fairly.gain.gain != pytest.approx(good.gain.gain)
    assert fairly.gain == same.gain


def test_an_ensemble_that_does_not_tell_what_it_says_cross_fitted_is_compared_with_nothing(runs, caplog):
    old = [replace(run, script=Path("ensemble.py")) if run.name == "good" else run for run in runs]
    good = standings(ROWS[:1], old, reference="plain")[0]
    assert (good.gain, good.interval) == (None, None)
    assert good.ours["score"]
    assert "good-0 does not say what it answers cross-fitted. Remove it, and it is made anew." in caplog.text


def test_without_a_reference_the_first_model_says_of_what_a_score_is(runs, tmp_path):
    search = Run("search", 0, Path("tune.py"), tmp_path / "search-0.yaml", tmp_path / "search-0")
    search.folder.mkdir()
    (search.folder / "report.json").write_text("{}")
    assert [row.row.run for row in standings((), [search, *runs])] == ["plain", "same", "good"]


def test_an_interval_is_of_what_its_row_is_compared_in(runs):
    row, score = standings([Published("Sure", "Table 1", "good", by="sts"), ROWS[0]], runs, reference="plain")[:2]
    assert score.interval != row.interval
    assert row.interval[0] < row.ours["sts"][0] < row.interval[1]
    assert -1 <= row.interval[0] < row.interval[1] <= 1
    assert " in sts | " in table([row], reference="plain")
    # Where no row has a score, intervals stand behind the tasks.
    alone = replace(row, ours={"sts": row.ours["sts"]}, theirs={})
    assert [cell.strip() for cell in table([alone]).splitlines()[0].split("|")[3:6]] == [
        "sts",
        "theirs",
        "95% interval",
    ]
    assert 0 <= score.interval[0] < score.interval[1] <= 1


def test_tasks_of_ones_own_are_compared_and_one_task_needs_no_other(runs, tmp_path, monkeypatch):
    for name in ("sst", "qqp"):
        monkeypatch.delitem(LABELS, name)
        monkeypatch.delitem(METRICS, name)
    monkeypatch.setitem(LABELS, "mood", draw.integers(0, 5, 80))
    monkeypatch.setitem(METRICS, "mood", "accuracy")
    own = [finished(tmp_path / "own", name, 0, wrong) for name, wrong in {"plain": 0.5, "good": 0.1}.items()]
    plain, good = standings((), own, reference="plain")
    assert good.ours["score"][0] == pytest.approx((good.ours["mood"][0] + (good.ours["sts"][0] + 1) / 2) / 2)
    assert good.gain.gain == pytest.approx(good.ours["score"][0] - plain.ours["score"][0])
    names = [word.strip() for word in table([plain, good]).splitlines()[0].strip("| ").split("|")]
    assert names == ["row", "sts", "mood", "score", "95% interval", "it/s", "gain", "inside the noise"]
    rows = [Published("Good", "Table 1", "good", by="sts", against="plain", sts=0.9)]
    (row, *_) = standings(rows, own)
    assert row.gain.gain == pytest.approx(good.ours["sts"][0] - plain.ours["sts"][0])


def test_what_a_seed_lacks_is_said_beside_what_is_of_the_others(runs):
    lost = [run for run in runs if (run.name, run.seed) != ("good", 1)]
    good, plain = standings(ROWS[:2], lost, reference="plain")[:2]
    (first,) = (Report.load(run.folder) for run in lost if (run.name, run.seed) == ("plain", 0))
    assert good.gain.gain == pytest.approx(good.ours["score"][0] - first.score)
    above, below = table([good, plain], reference="plain").splitlines()[2:]
    assert above.startswith("| Good (seed 0) | ")
    assert ") (seed 0) |" in above
    assert "seed" not in below
    assert all("(seed" in line for line in table([good, plain], seeds=[0, 1, 2]).splitlines()[2:])


def test_runs_that_answered_other_rows_are_not_compared(runs, monkeypatch):
    one = next(run for run in runs if (run.name, run.seed) == ("good", 1))
    shown = standings(ROWS[:1], runs, reference="plain")[0]
    monkeypatch.setitem(LABELS, "sst", np.roll(LABELS["sst"], 1))
    finished(one.folder.parent, "good", 1, 0.1)
    other = standings(ROWS[:1], runs, reference="plain")[0]
    assert (shown.shared, other.shared) == ((0, 1), (0,))


def test_of_one_seed_the_interval_of_the_score_is_about_that_of_each_task(runs):
    (good, *_) = standings(ROWS, runs[:3])
    width = good.interval[1] - good.interval[0]
    said = [bootstrap("accuracy", LABELS["sst"] * 0 + (draw.random(80) < 0.9), np.ones(80)) for _ in range(3)]
    assert 0 < width < 2 * max(high - low for low, high in said)
