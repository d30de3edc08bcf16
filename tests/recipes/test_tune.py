"""Studies from their command line to what they leave, by one worker and by two."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import optuna
import pytest
from commands import ROOT, TINY, call, load
from training_runs import SignalAt

from hf_multitask import Report

TRAIN, TUNE = load("train"), load("tune")
SEARCH = (
    TINY + "search: {training.learning_rate: {low: 1e-4, high: 1e-2, log: true}, model.dropout: {choices: [0, .1]}}\n"
)


@pytest.fixture
def words(tmp_path):
    (tmp_path / "search.yaml").write_text(SEARCH)
    return ["--config", tmp_path / "search.yaml", "--output_dir", tmp_path / "out"]


def test_a_search_ends_with_a_recipe_that_trains(words, tmp_path):
    code, out, err = call(TUNE, *words, "--trials", 2)
    assert code == 0, err
    assert "Trials: 2 complete" in out
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"best.yaml", "report.json", "report.md", "history.png", "slice.png", "trials.db"} <= files
    kept = json.loads((tmp_path / "out" / "report.json").read_text())["trials"]
    code, _, err = call(TRAIN, "--config", tmp_path / "out" / "best.yaml")
    assert code == 0, err
    found = Report.load(tmp_path / "out" / "best").score
    assert found == pytest.approx(max(trial["value"] for trial in kept))
    code, out, err = call(TUNE, *words, "--trials", 3)
    assert code == 0, err
    assert "Trials: 3 complete" in out


def test_without_optuna_a_sentence_says_what_brings_it(words, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = call(TUNE, *words)
    assert code == 1
    assert 'optuna is not installed. `pip install -e ".[tune]"` brings it.' in err


def test_another_search_is_not_put_into_another(words, tmp_path):
    assert call(TUNE, *words, "--trials", 1)[0] == 0
    code, _, err = call(TUNE, *words, "--seed", 5)
    assert code == 1
    assert "was begun with another seed" in err
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "recipe.yaml").write_text("tasks: [sst]")
    code, _, err = call(TUNE, *words, "--output_dir", tmp_path / "else")
    assert code == 1
    assert "holds what another recipe made" in err
    (tmp_path / "else" / "recipe.yaml").unlink()
    (tmp_path / "else" / "mine.txt").touch()
    code, _, err = call(TUNE, *words, "--output_dir", tmp_path / "else")
    assert code == 1
    assert "holds other files" in err


def test_two_searches_in_one_database_do_not_meet(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    words = ["--config", tmp_path / "tiny.yaml", "--trials", 1, "--storage", f"sqlite:///{tmp_path / 'shared.db'}"]
    for name, setting in (("one", "model.dropout"), ("other", "training.weight_decay")):
        search = ["--search", json.dumps({setting: {"low": 0.0, "high": 0.1}})]
        code, out, err = call(TUNE, *words, *search, "--output_dir", tmp_path / name)
        assert code == 0, err
        assert "Trials: 1 complete" in out
        assert setting in (tmp_path / name / "report.md").read_text()


def test_a_trial_whose_last_update_diverged_is_pruned(tmp_path):
    # One step an epoch: its loss is a number, and the model that it leaves is not.
    (tmp_path / "tiny.yaml").write_text(TINY)
    words = ["--config", tmp_path / "tiny.yaml", "--training.per_device_train_batch_size", 64, "--trials", 1]
    words += ["--search", "{training.learning_rate: {choices: [1e38]}}", "--training.warmup_steps", 0]
    code, _, err = call(TUNE, *words, "--output_dir", tmp_path / "out")
    assert code == 1
    assert "No trial came to its end: all were pruned, or diverged." in err


def test_a_worker_that_is_told_to_stop_loses_its_trial_alone(words, tmp_path, monkeypatch):
    stop = SignalAt(signal.SIGTERM, 1)
    build = TUNE.build_trainer
    monkeypatch.setattr(TUNE, "build_trainer", lambda *given, callbacks: build(*given, callbacks=[*callbacks, stop]))
    code, _, err = call(TUNE, *words, "--trials", 2)
    assert code == 143
    assert "Told to stop: trial 0 is lost. The same command goes on." in err
    monkeypatch.undo()
    code, out, err = call(TUNE, *words, "--trials", 2)
    assert code == 0, err
    assert "Trials: 1 fail, 2 complete" in out


@pytest.mark.recipe
def test_two_workers_share_a_search_and_one_may_be_killed(words, tmp_path):
    trials, place = 3, f"sqlite:///{tmp_path / 'out' / 'trials.db'}"
    command = [sys.executable, ROOT / "recipes" / "tune.py", *words, "--trials", trials]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    workers = []
    for number in range(2):
        with (tmp_path / f"{number}.txt").open("w") as said:
            workers.append(subprocess.Popen(list(map(str, command)), env=environment, stdout=said, stderr=said))
    try:
        while running(tmp_path / "out" / "trials.db") < 2:
            assert all(worker.poll() is None for worker in workers), (tmp_path / "1.txt").read_text()
        workers[0].send_signal(signal.SIGKILL)
        workers[1].wait(timeout=300)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert workers[1].returncode == 0, (tmp_path / "1.txt").read_text()
    (name,) = optuna.get_all_study_names(place)
    study = optuna.load_study(study_name=name, storage=place)
    states = [trial.state.name for trial in study.trials]
    assert states.count("COMPLETE") + states.count("PRUNED") >= trials
    assert states.count("RUNNING") + states.count("FAIL") == 1
    assert len({trial.params["training.learning_rate"] for trial in study.trials if trial.params}) >= trials
    assert (tmp_path / "out" / "best.yaml").is_file()


def running(file):
    """How many trials the workers are at."""
    time.sleep(0.05)
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as study:
            (count,) = study.execute("select count(*) from trials where state = 'RUNNING'").fetchone()
    except sqlite3.OperationalError:
        # There is no file yet, or its tables are only being made.
        return 0
    return count
