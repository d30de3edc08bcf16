import json
import logging
import math

import optuna
import pytest
from transformers import TrainingArguments

from hf_multitask.tuning import Dimension, Watch, best_params, draw, optimize, save_trials

SPACES = {
    "log": Dimension(low=1e-5, high=1e-3, log=True),
    "plain": Dimension(low=0.1, high=0.9),
    "steps": Dimension(low=8, high=32, step=8),
    "choices": Dimension(choices=[0.0, None, "gelu", {"class": "Annealed"}]),
}


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def bowl(trial):
    return -((math.log10(SPACES["log"].suggest(trial, "log", whole=False)) + 4) ** 2)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_what_is_suggested_is_within(space):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        value = space.suggest(trial, "x", whole=False)
        assert space.chosen(trial.params["x"]) == value
        study.tell(trial, 0)
        if space.choices is None:
            assert space.low <= value <= space.high
        else:
            assert value in space.choices


def test_whole_numbers_are_whole():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    values = {SPACES["steps"].suggest(study.ask(), "x", whole=True) for _ in range(20)}
    assert values == {8, 16, 24, 32}
    assert all(isinstance(value, int) for value in values)
    assert Dimension(low=1, high=3).between % 1
    assert Dimension(low=1, high=1).between is None


@pytest.mark.parametrize("name", ["study.db", "study.log"])
def test_a_study_goes_on_to_its_number_of_trials_and_repeats_itself(name, tmp_path):
    place = str(tmp_path / name)
    assert len(optimize(bowl, place, trials=3).trials) == 3
    assert len(optimize(bowl, place, trials=5).trials) == 5
    study = optimize(bowl, place, trials=5)
    assert len(study.trials) == 5
    again = optimize(bowl, str(tmp_path / f"again-{name}"), trials=5)
    assert [trial.params for trial in again.trials] == [trial.params for trial in study.trials]
    assert len({trial.params["log"] for trial in study.trials}) == 5


def test_any_seed_of_ones_own_will_do(tmp_path):
    assert len(optimize(bowl, str(tmp_path / "study.db"), trials=2, seed=11711).trials) == 2


def test_less_may_be_better(tmp_path):
    study = optimize(lambda trial: -bowl(trial), str(tmp_path / "study.db"), trials=4, greater=False)
    assert study.best_value == min(trial.value for trial in study.trials)
    assert "| 0.0" in save_trials(study, tmp_path, ["log"]).splitlines()[2]


def test_pruned_trials_count_and_are_reported_beside_the_others(tmp_path):
    def run(trial):
        value = bowl(trial)
        if trial.number % 2:
            raise optuna.TrialPruned
        return value

    study = optimize(run, str(tmp_path / "study.db"), trials=5)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"] * 2 + ["COMPLETE"]
    text = save_trials(study, tmp_path, ["log"])
    assert "Trials: 3 complete, 2 pruned." in text
    assert (tmp_path / "report.md").read_text() == text
    kept = json.loads((tmp_path / "report.json").read_text())["trials"]
    assert [trial["value"] for trial in kept] == [trial.value for trial in study.trials]
    assert best_params(study) == [study.best_params]
    values = [trial.value for trial in study.get_trials() if trial.params in best_params(study, 3)]
    assert len(best_params(study, 3)) == 3
    assert max(values) == study.best_value


def test_a_study_without_a_result_says_so(tmp_path):
    def run(trial):
        raise optuna.TrialPruned

    with pytest.raises(ValueError, match="No trial came to its end"):
        best_params(optimize(run, str(tmp_path / "study.db"), trials=2))


def test_the_watch_prunes_what_is_worse_than_most_and_keeps_the_best_value(tmp_path):
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    arguments = TrainingArguments(str(tmp_path), metric_for_best_model="score")
    for values in ([0.5, 0.7, 0.6], [0.6, 0.8, 0.9]):
        watch = Watch(trial := study.ask())
        for value in values:
            watch.on_evaluate(arguments, None, None, metrics={"eval_score": value})
        assert (watch.best(greater=True), watch.best(greater=False)) == (max(values), min(values))
        study.tell(trial, watch.best(greater=True))
    with pytest.raises(optuna.TrialPruned):
        Watch(study.ask()).on_evaluate(arguments, None, None, metrics={"eval_score": 0.1})
    Watch(study.ask(), prune=False).on_evaluate(arguments, None, None, metrics={"eval_score": 0.1})


def test_pictures_are_drawn(tmp_path):
    def run(trial):
        return bowl(trial) + SPACES["plain"].suggest(trial, "plain", whole=False)

    study = optimize(run, str(tmp_path / "study.db"), trials=4)
    assert [path.name for path in draw(study, tmp_path)] == ["history.png", "slice.png", "importance.png"]
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("history.png", "slice.png", "importance.png"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "Give low and high, or choices"),
        ({"low": 1.0}, "Give low and high, or choices"),
        ({"choices": []}, "one or more"),
        ({"choices": [1], "log": True}, "stands alone"),
        ({"low": 2.0, "high": 1.0}, "low must not be above high. Got 2 and 1"),
        ({"low": 0.0, "high": 1.0, "log": True}, "log needs low above zero"),
        ({"low": 0.0, "high": 1.0, "step": 0.0}, "step must be above zero"),
    ],
)
def test_mistakes_are_named(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Dimension(**options)
