import pytest
from commands import ROOT

from hf_multitask.arguments import MultitaskTrainingArguments
from hf_multitask.recipe import RecipeError, read_recipe, write_recipe
from hf_multitask.sections.train import TrainRecipe
from hf_multitask.sections.tune import TuneRecipe

RATE = "{training.learning_rate: {low: 1e-5, high: 1e-4, log: true}}"


def read(search=RATE, *argv):
    return read_recipe(TuneRecipe, ["--search", search, *argv])


def test_a_recipe_reads_back_equal(tmp_path):
    recipe = read("{model.dropout: {choices: [0, .1]}, schedule: {choices: [{class: Annealed}]}}", "--trials", "3")
    assert read_recipe(TuneRecipe, ["--config", str(write_recipe(recipe, tmp_path))]) == recipe


def test_a_trial_is_the_recipe_with_its_values(tmp_path):
    recipe = read(RATE, "--tasks", "sst,sts", "--training.num_train_epochs", "2")
    values = {"training.learning_rate": 2e-5, "tasks.sts.weight": 0.5, "schedule": {"class": "Annealed", "end": 0.3}}
    found = recipe.with_values(values, output_dir="there")
    assert type(found) is TrainRecipe
    argv = ["--tasks", "sst,sts", "--training", "{num_train_epochs: 2, learning_rate: 2e-5}", "--tasks.sts.weight"]
    argv += [".5", "--schedule", "{class: Annealed, end: .3}", "--output_dir", "there"]
    assert found == read_recipe(TrainRecipe, argv)
    path = write_recipe(found, tmp_path, "best.yaml")
    assert read_recipe(TrainRecipe, ["--config", str(path)]) == found


def test_whole_numbers_are_known_by_what_the_setting_takes():
    recipe = read(
        "{training.per_device_train_batch_size: {low: 8, high: 64, step: 8}, model.dropout: {low: 0, high: 0.5}, "
        "tasks.sst.weight: {low: 0, high: 1}, seed: {low: 0, high: 9}, model.pooling: {choices: [cls, mean]}}"
    )
    assert [recipe.whole(name) for name in recipe.search] == [True, False, False, True, False]


def test_the_trials_lie_in_the_folder_or_in_a_database():
    assert read(RATE, "--output_dir", "o", "--storage", "s.log").place == "o/s.log"
    assert read(RATE, "--storage", "postgresql://host/db").place == "postgresql://host/db"


def test_in_one_database_each_search_has_a_name_of_its_own():
    ways = ([], ["--trials", "9"], ["--output_dir", "/o"], ["--seed", "1"], ["--model.dropout", ".2"])
    names = [read(RATE, *more).study for more in ways]
    assert len(set(names[:3])) == 1
    assert len(set(names)) == 3
    assert read("{model.dropout: {low: 0, high: 0.5}}").study not in names


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "configs" / "tune").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_search_that_ships_is_whole(path):
    assert read_recipe(TuneRecipe, ["--config", str(path)]).search


def test_a_launcher_starts_no_worker(monkeypatch):
    monkeypatch.setattr(MultitaskTrainingArguments, "world_size", 2)
    with pytest.raises(RecipeError, match="is one process"):
        read().arguments()


@pytest.mark.parametrize(
    ("search", "argv", "faults"),
    [
        ("{}", [], ["search is empty"]),
        ("{training.learning_rat: {choices: [1]}}", [], ["search.training", "Did you mean 'learning_rate'?"]),
        ("{model.dropout: {low: 0, high: 1}}", [], ["dropout must be at least 0 and below 1. Got 1."]),
        ("{seed: {low: 1, high: 9, step: 0.5}}", [], ["search.seed.step must be whole, as the setting is. Got 0.5."]),
        ("{model.dropout: {low: 0}}", [], ["search.model.dropout: Give low and high, or choices."]),
        ("{model.dropout: {low: 0, hi: 1}}", [], ["Unknown option 'hi'"]),
        ("{tasks.stss.weight: {low: 0, high: 1}}", [], ["Unknown item 'stss'. Did you mean 'sts'?"]),
        (
            "{model.pooling: {choices: [men, cls, max]}, schedule: {choices: [{class: Aneal}]}}",
            [],
            ["search.model.pooling: Unknown choice 'men'", "'max'", "'Annealed'"],
        ),
        (RATE, ["--resume", "auto", "--trials", "0"], ["A search goes on when", "trials must be 1 or more"]),
        (RATE, ["--storage", "study"], ["storage is a file that ends in .db or .log, or a URL. Got 'study'."]),
        ("{}", ["--early_stopping", "0"], ["early_stopping must be 1 or more", "search is empty"]),
    ],
)
def test_all_faults_come_in_one_message(search, argv, faults):
    with pytest.raises(RecipeError) as caught:
        read(search, *argv)
    assert all(fault in str(caught.value) for fault in faults), caught.value
