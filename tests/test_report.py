import json
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from sklearn.dummy import DummyClassifier

from hf_multitask import report as module
from hf_multitask.report import Report, aligned, chance, replace_text, versions

SST = {"split": "dev", "n": 1101, "metric": "accuracy", "scored": True, "accuracy": 0.505, "f1": 0.49}
SST |= {"ci95": [0.475, 0.534], "loss": 1.17, "labels": ["bad", "good"], "confusion": [[500, 45], [500, 56]]}
QQP = {"split": "dev", "n": 40431, "metric": "accuracy", "scored": True, "accuracy": 0.83, "ci95": [0.826, 0.834]}
STS = {"split": "dev", "n": 863, "metric": "pearson", "scored": True, "pearson": 0.85, "ci95": [0.83, 0.867]}
SICK = {"split": "dev", "n": 9840, "metric": "pearson", "scored": False, "pearson": 0.7}
BESIDE = {
    "bag of words": {"sst": 0.38, "qqp": 0.75, "sts": 0.2, "sick": 0.4},
    "chance": {"sst": 0.253, "qqp": 0.63, "sts": 0.0},
    "paper": {"sst": 0.51},
}

TABLE = """\
| task  | metric   |   rows | model |   95% interval | bag of words | chance | paper |
| ----- | -------- | -----: | ----: | -------------: | -----------: | -----: | ----: |
| sst   | accuracy |  1,101 | 0.505 | 0.475 to 0.534 |        0.380 |  0.253 | 0.510 |
| qqp   | accuracy | 40,431 | 0.830 | 0.826 to 0.834 |        0.750 |  0.630 |       |
| sts   | pearson  |    863 | 0.850 | 0.830 to 0.867 |        0.200 |  0.000 |       |
| sick  | pearson  |  9,840 | 0.700 |                |        0.400 |        |       |
| score |          |        | 0.753 |                |        0.577 |  0.461 |       |

Score: mean of sst, qqp, sts, a correlation r as (r + 1) / 2.
Trunk bert-base-uncased. Split dev, seed 7, 812.3 examples per second.
"""


@pytest.fixture
def report() -> Report:
    tasks = {"sst": dict(SST), "qqp": dict(QQP), "sts": dict(STS), "sick": dict(SICK)}
    return Report(tasks, 812.34, 64.3, seed=7, trunk="bert-base-uncased", beside=BESIDE, about={"recipe": "demo"})


def test_score_is_the_mean_over_the_scored_tasks(report):
    assert report.score == pytest.approx((0.505 + 0.83 + (0.85 + 1) / 2) / 3)
    assert report.score_of(BESIDE["chance"]) == pytest.approx((0.253 + 0.63 + 0.5) / 3)
    del report.tasks["sst"], report.tasks["qqp"], report.tasks["sts"]
    assert report.score == pytest.approx(0.85)


def test_table_is_narrow_and_lines_up(report):
    assert report.to_markdown() == TABLE
    assert max(map(len, TABLE.splitlines())) <= 100


def test_a_table_needs_no_comparison(report):
    report.beside, report.trunk = {}, None
    del report.tasks["sts"], report.tasks["sick"]
    table = report.to_markdown()
    assert "Score: mean of sst, qqp.\nSplit dev" in table
    assert len({len(line) for line in table.splitlines()[:5]}) == 1


def test_json_has_the_schema(report):
    content = json.loads(report.to_json())
    assert list(content)[:2] == ["tasks", "score"]
    assert content["tasks"]["sst"] == SST
    assert content["score"] == report.score
    assert content["beside"] == BESIDE
    assert (content["examples_per_second"], content["seconds"], content["seed"]) == (812.34, 64.3, 7)
    assert {"python", "torch", "transformers", "datasets", "accelerate", "peft", "hf_multitask"} <= set(
        content["versions"]
    )


def test_numbers_that_json_lacks_are_refused_by_place(report):
    report.tasks["sst"]["loss"], report.tasks["sts"]["ci95"] = float("nan"), [0.0, float("inf")]
    with pytest.raises(ValueError, match=r"tasks\.sst\.loss = nan, tasks\.sts\.ci95\.1 = inf"):
        report.to_json()


def test_load_gives_back_what_was_saved(report, tmp_path):
    report.save(tmp_path / "new" / "folder")
    assert Report.load(tmp_path / "new" / "folder") == report
    assert (tmp_path / "new" / "folder" / "report.md").read_text() == TABLE
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["report.json", "report.md"]


def test_a_full_disk_names_the_file(report, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*report\.md'"):
        report.save(tmp_path)


def test_a_save_that_fails_leaves_no_finished_report(report, tmp_path, monkeypatch):
    def fail_at_json(source, target):
        if target.suffix == ".json":
            raise OSError("disk full")
        source.rename(target)

    monkeypatch.setattr(module.os, "replace", fail_at_json)
    with pytest.raises(OSError, match="disk full"):
        report.save(tmp_path)
    assert (tmp_path / "report.md").exists()
    with pytest.raises(FileNotFoundError, match=r"report\.json is not there"):
        Report.load(tmp_path)


def test_replaced_text_is_whole_and_alone(tmp_path):
    for text in ("one\n", "zwei ü\n"):
        replace_text(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == text
    assert len(list(tmp_path.iterdir())) == 1


def test_chance_equals_a_dummy_classifier():
    labels = np.random.default_rng(0).choice(4, 100, p=[0.1, 0.2, 0.3, 0.4])
    blind = np.zeros((100, 1))
    expected = DummyClassifier(strategy="most_frequent").fit(blind, labels).score(blind, labels)
    data = Dataset.from_dict({"label": labels})
    assert chance(data, "accuracy") == expected
    assert chance(data.with_format("torch"), "accuracy") == expected


def test_chance_knows_of_classes_that_no_row_has():
    data = Dataset.from_dict({"label": [0, 0, 0, 1]})
    # Of two classes F1 is that of the second, of three the mean over those that occur.
    assert chance(data, "f1") == 0
    assert chance(data, "f1", 3) == pytest.approx((6 / 7 + 0) / 2)


def test_a_bar_in_a_cell_ends_no_column():
    lines = aligned([["row", "place"], ["|u - v|", "here"]]).splitlines()
    assert lines[2] == r"| \|u - v\| | here  |"
    assert len({len(line) for line in lines}) == 1


def test_chance_knows_no_correlation():
    data = Dataset.from_dict({"label": [0.1, 2.5, 4.0]})
    assert chance(data, "pearson") == chance(data, "spearman") == 0


def test_versions_are_those_of_the_running_packages():
    import torch
    import transformers

    found = versions()
    assert (found["torch"], found["transformers"]) == (torch.__version__, transformers.__version__)


def test_the_report_of_a_search_is_none_of_a_model(tmp_path):
    (tmp_path / "report.json").write_text('{"trials": 5}')
    with pytest.raises(ValueError, match="tells of no model, but of a search"):
        Report.load(tmp_path)
