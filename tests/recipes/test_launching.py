"""Recipes under accelerate's launcher."""

import json

import pytest
from commands import call, launch, load

from hf_multitask import Report

TRAIN, EVALUATE = load("train"), load("evaluate")


@pytest.mark.recipe
@pytest.mark.parametrize("processes", [1, 2])
def test_accelerate_launches_the_recipe(processes, tiny, tmp_path):
    assert launch("train", *tiny, processes=processes).count("| score") == 1
    assert Report.load(tmp_path / "out").tasks["sst"]["n"] == 8


def test_a_launcher_is_told_the_sentence_too(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    code, _, err = call(TRAIN, *tiny, "--tasks", "stt")
    assert code == 1
    told = json.loads((tmp_path / "error.json").read_text())["message"]
    assert told["message"] == told["extraInfo"]["py_callstack"] == err.strip()


@pytest.mark.distributed
def test_two_processes_write_the_answers_of_one(tiny, course, tmp_path):
    code, _, err = call(TRAIN, *tiny, "--data_dir", course)
    assert code == 0, err
    for split in ("dev", "test"):
        words = ["--model", tmp_path / "out", "--data_dir", course, "--split", split, "--output_dir"]
        code, _, err = call(EVALUATE, *words, tmp_path / f"one-{split}")
        assert code == 0, err
        launch("evaluate", *words, tmp_path / f"two-{split}", processes=2)
        one, two = ({file.name: file for file in (tmp_path / f"{n}-{split}").iterdir()} for n in ("one", "two"))
        assert one.keys() == two.keys()
        answers = [name for name in one if name.endswith(".csv")]
        assert len(answers) == 3
        for name in answers:
            assert one[name].read_text() == two[name].read_text()
    reports = [Report.load(tmp_path / f"{n}-dev").tasks for n in ("one", "two")]
    assert reports[0] == reports[1]
