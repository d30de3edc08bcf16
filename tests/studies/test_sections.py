"""What a study's runs are: their recipes, what they build on, and what is refused."""

import json
import sys
from dataclasses import replace
from shutil import rmtree

import pytest

from hf_multitask.recipe import read_recipe, write_recipe
from hf_multitask.sections.ensemble import EnsembleRecipe
from hf_multitask.sections.train import TrainRecipe
from hf_multitask.sections.tune import TuneRecipe
from hf_multitask.studies import course
from hf_multitask.studies.course import perform
from hf_multitask.studies.rehearsal import attempts, rehearse
from hf_multitask.studies.runs import execute
from hf_multitask.studies.sections import KINDS, ReproduceRecipe

RATES = {"training.learning_rate": {"low": 1e-5, "high": 1e-4}}


def test_a_folder_that_was_made_by_other_settings_is_refused(tmp_path, study):
    runs = {"plain": {}, "cycle": {"settings": {"schedule": {"class": "Cycle"}}}}
    for made in study("--seeds", "0", runs=runs).build(tmp_path):
        write_recipe(read_recipe(TrainRecipe, ["--config", str(made.recipe)]), made.folder)
    assert len(study("--seeds", "0", runs=runs).build(tmp_path)) == 2
    # Another spelling of the same places is the same.
    assert len(study("--seeds", "0", runs=runs, output_dir=f"{tmp_path}/../{tmp_path.name}/out").build(tmp_path)) == 2
    before = (tmp_path / "out" / "plain-0.yaml").read_text()
    words = ["--seeds", "0", "--settings.training.bf16", "true", "--settings.model.dropout", "0.2"]
    other = study(*words, runs=runs)
    words = r"plain-0 was made with another model\.dropout \(0\.3, now 0\.2\), training\.bf16 \(None, now True\)\. Give"
    with pytest.raises(ValueError, match=words) as error:
        other.build(tmp_path)
    assert len(error.value.faults) == 2
    assert (tmp_path / "out" / "plain-0.yaml").read_text() == before


def test_what_was_made_of_a_run_does_not_outlive_it(tmp_path, study, script):
    runs = {"plain": {}, "both": {"script": "ensemble", "members": ["plain"]}}
    plain, both = [replace(made, script=script) for made in study("--seeds", "0", runs=runs).build(tmp_path)]
    execute([plain, both], jobs=1)
    assert both.outdated() == []
    assert len(study("--seeds", "0", runs=runs).build(tmp_path)) == 2
    report = plain.folder / "report.json"
    for spoil in (lambda: report.write_text(report.read_text() + "\n"), report.unlink):
        spoil()
        with pytest.raises(ValueError, match=r"both-0 was made of another plain-0 than is there now\. Remove it too\."):
            study("--seeds", "0", runs=runs).build(tmp_path)
    rmtree(both.folder)
    assert not both.outdated()


def test_a_table_that_fails_hides_no_run_that_failed(tmp_path, monkeypatch, capsys, study, script):
    made = study("--seeds", "0", "--results", str(tmp_path / "shown"), runs={"good": {}, "worse": {}})
    script.rename(tmp_path / "train.py")
    runs = [replace(one, layer=text) for one, text in zip(made.build(tmp_path), ("a", "bad"), strict=True)]

    def refuse(*_):
        raise ValueError("No room for it.")

    monkeypatch.setattr(course, "write_results", refuse)
    with pytest.raises(RuntimeError, match="1 of 2 runs failed") as failed:
        perform(made, runs, tmp_path)
    assert str(failed.value).endswith("It is bad.\n\nWhat is finished could not be shown: No room for it.")
    assert "| good | 0" in capsys.readouterr().out


def test_a_run_that_nobody_asked_for_and_that_cannot_be_costs_no_table(tmp_path, study, script, caplog, capsys):
    wiki = {"script": "pretrain", "settings": {"data": {"source": {"class": "TextFile", "path": "{data_dir}/wiki"}}}}
    heavy = {"settings": {"tasks": {"stss": {"weight": 5}}}}
    recipe = study("--seeds", "0", "--only", "plain", runs={"wiki": wiki, "heavy": heavy, "plain": {}})
    script.rename(tmp_path / "train.py")
    (plain,) = [replace(one, layer="abc") for one in recipe.build(tmp_path)]
    perform(recipe, [plain], tmp_path)
    assert "| plain | 0" in capsys.readouterr().out
    assert not caplog.records
    # Of one that somebody finished with a file of that folder it is said.
    (tmp_path / "out" / "wiki-0").mkdir()
    (tmp_path / "out" / "wiki-0" / "report.json").write_bytes((plain.folder / "report.json").read_bytes())
    perform(recipe, [plain], tmp_path)
    assert "It is not in the table: '{data_dir}/wiki'" in caplog.text
    assert "| plain | 0" in capsys.readouterr().out


def test_what_another_process_made_otherwise_meanwhile_is_not_taken_for_ones_own(tmp_path, study, script, caplog):
    recipe = study("--seeds", "0", runs={"plain": {}, "other": {}})
    script.rename(tmp_path / "train.py")
    runs = recipe.build(tmp_path)
    execute(runs[1:], jobs=1)
    write_recipe(read_recipe(TrainRecipe, ["--model.dropout", "0.9", "--seed", "0"]), runs[1].folder)
    with pytest.raises(RuntimeError, match="other-0: another process made it meanwhile, otherwise"):
        perform(recipe, runs, tmp_path)
    assert "other-0 was made with another schedule" in caplog.text
    assert "model.dropout (0.9, now 0.3)" in caplog.text
    assert "other" not in (tmp_path / "out" / "table.md").read_text()


def test_two_runs_of_one_name_are_refused_and_names_are_those_of_folders(study):
    rates = {"sweep": {"training.learning_rate": [1e-5, 2e-5]}}
    with pytest.raises(ValueError, match="Two are called lr-2e-05"):
        study(runs={"lr": rates, "lr-2e-05": {}})
    trunks = {"sweep": {"model.trunk": ["/a/bert", "/b/bert"]}}
    made = study("--seeds", "0", runs={"of": trunks})
    assert list(made.sections()) == ["of-a-bert", "of-b-bert"]


def test_what_names_nothing_in_a_run_is_refused_by_the_run(tmp_path, study):
    runs = {"of": {"settings": {"regularizers": [{"class": "Smart"}]}, "sweep": {"regularizers.1.weight": [2, 3]}}}
    with pytest.raises(ValueError, match=r"regularizers: Unknown item '1'.*\(runs\.of\)"):
        study(runs=runs)
    runs = {"heavy": {"settings": {"tasks": {"stss": {"weight": 5}}}}}
    made = study("--settings.tasks", "[sst, sts]", runs=runs)
    with pytest.raises(ValueError, match=r"tasks: Unknown item 'stss'.*\(runs\.heavy\)"):
        made.build(tmp_path)
    # A scale's limit is for whoever reads the task; of a task that nobody knows it is a fault.
    limit = {"data": {"limit": {"qqp": 5, "qpq": 6}}}
    (made,) = study("--seeds", "0", runs={"few": {"settings": {"tasks": ["sst"], **limit}}}).build(tmp_path)
    with pytest.raises(ValueError, match=r"data\.limit: Unknown task .qpq."):
        read_recipe(TrainRecipe, ["--config", str(made.recipe)])


def test_factors_multiply_what_the_recipe_below_says(tmp_path, study):
    base = {"training": {"num_train_epochs": 10, "learning_rate": 1e-5, "max_grad_norm": 2.0}}
    (tmp_path / "below.yaml").write_text(json.dumps(base))
    words = ["--seeds", "0", "--recipe", str(tmp_path / "below.yaml"), "--epochs", "0.1", "--rates", "4"]
    runs = {"plain": {}, "more": {"settings": {"training": {"num_train_epochs": 20}}}}
    for made, epochs in zip(study(*words, runs=runs).build(tmp_path), (1, 2), strict=True):
        found = read_recipe(TrainRecipe, ["--config", str(made.recipe)]).training
        assert found == {"num_train_epochs": epochs, "learning_rate": 4e-5, "max_grad_norm": 2.0}


def test_a_dry_run_tries_every_choice_of_a_search():
    search = "{model.dropout: {low: 0.1, high: 0.3}, training.per_device_train_batch_size: {choices: [8, 16, 32]}}"
    tried = attempts("tune", read_recipe(TuneRecipe, ["--search", search]))
    assert [one.training["per_device_train_batch_size"] for one in tried] == [8, 16, 32]
    assert [one.model.dropout for one in tried] == [0.1, 0.3, 0.1]


def test_a_search_of_other_trials_is_another_search(tmp_path, study):
    runs = {"search": {"script": "tune", "settings": {"trials": 2, "search": RATES}}}
    for made in study("--seeds", "0", runs=runs).build(tmp_path):
        write_recipe(read_recipe(TuneRecipe, ["--config", str(made.recipe)]), made.folder)
    runs["search"]["settings"]["trials"] = 3
    with pytest.raises(ValueError, match=r"search-0 was made with another trials \(2, now 3\)\."):
        study("--seeds", "0", runs=runs).build(tmp_path)


def test_each_run_has_a_recipe_that_its_script_reads(tmp_path, study):
    runs = {
        "plain": {},
        "cycle": {"settings": {"schedule": {"class": "Cycle"}, "model": {"dropout": 0.2, "pooling": "cls"}}},
        "first": {"script": "pretrain"},
    }
    words = ["--seeds", "3,4", "--data_dir", "rows", "--trunk", "bert", "--settings.model.dropout", "0.1"]
    made = study(*words, runs=runs).build(tmp_path / "recipes")
    assert [(run.name, run.seed) for run in made] == [(name, seed) for seed in (3, 4) for name in runs]
    assert {run.script.name for run in made if run.name == "first"} == {"pretrain.py"}
    plain, cycle = (read_recipe(TrainRecipe, ["--config", str(run.recipe)]) for run in made[3:5])
    assert plain.schedule == {"class": "Annealed", "end": 0.5}
    assert cycle.schedule == {"class": "Cycle"}
    assert plain.data.source == cycle.data.source == {"class": "Course", "data_dir": "rows"}
    assert (plain.model.trunk, plain.model.dropout, plain.model.pooling) == ("bert", 0.1, "mean")
    assert (cycle.model.trunk, cycle.model.dropout, cycle.model.pooling) == ("bert", 0.2, "cls")
    assert (plain.seed, plain.output_dir) == (4, str(made[3].folder))
    assert [run.name for run in study("--only", "cycle", "--seeds", "0", runs=runs).build(tmp_path)] == ["cycle"]


def test_a_student_is_trained_by_a_runs_recipe_once_that_is_finished(tmp_path, study):
    taught = {"script": "ensemble", "members": ["one"], "student": "other", "settings": {"rule": "distill"}}
    made = study("--seeds", "5", "--only", "taught", runs={"one": {}, "other": {}, "taught": taught})
    one, other, last = made.build(tmp_path)
    assert last.needs == (other.folder, one.folder)
    recipe = read_recipe(EnsembleRecipe, ["--config", str(last.recipe)])
    assert recipe.student == str(other.recipe)
    with pytest.raises(ValueError, match=r"runs\.one: Unknown run 'none'"):
        study(runs={"one": {**taught, "members": ["two"], "student": "none"}, "two": {}})
    with pytest.raises(ValueError, match="student is for rule distill of script ensemble"):
        study(runs={"one": {"student": "two"}, "two": {}})


def test_limits_hold_for_a_run_that_changes_a_task_by_its_name(tmp_path, study):
    runs = {"plain": {}, "cosine": {"settings": {"tasks": {"sts": {"head": {"class": "Cosine"}}}}}}
    made = study("--seeds", "0", "--settings.data.limit", "{sst: 8, qqp: 9}", runs=runs).build(tmp_path)
    for run in made:
        assert read_recipe(TrainRecipe, ["--config", str(run.recipe)]).data.limit == {"sst": 8, "qqp": 9}


def test_what_a_search_found_is_scaled_too(tmp_path, study):
    scaled = {"small": {"training": {"num_train_epochs": 7}}}
    runs = {
        "search": {"script": "tune", "settings": {"search": RATES}},
        "found": {"best_of": "search", "settings": {"model": {"dropout": 0.2}}, "scaled": scaled},
    }
    words = ["--scale", "small", "--scripts", "{train: {training: {save_total_limit: 1}}}", "--seeds", "0"]
    _, found = study(*words, runs=runs).build(tmp_path)
    (tmp_path / "out" / "search-0").mkdir()
    (tmp_path / "out" / "search-0" / "best.yaml").write_text("training: {learning_rate: 5e-5, num_train_epochs: 2}")
    recipe = read_recipe(TrainRecipe, ["--config", str(found.recipe)])
    assert recipe.model.dropout == 0.2
    assert recipe.training == {"learning_rate": 5e-5, "num_train_epochs": 7, "save_total_limit": 1}
    # What a run itself says is multiplied, and what its search found was.
    _, found = study(*words, "--epochs", "2", "--rates", "3", runs=runs, output_dir=str(tmp_path / "out")).build(
        tmp_path
    )
    recipe = read_recipe(TrainRecipe, ["--config", str(found.recipe)])
    assert recipe.training == {"learning_rate": 5e-5, "num_train_epochs": 14, "save_total_limit": 1}


def test_a_dry_run_waits_for_no_evaluation(tmp_path, study):
    size = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    small = {"data": {"source": {"class": "Demo", "size": 64}}, "model": {"size": size}}
    runs = {"patient": {"settings": {"early_stopping": 2, **small}}}
    made = study("--seeds", "0", runs=runs)
    rehearse(made, made.build(tmp_path))


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--only", "plan"], "only: Unknown run 'plan'. Did you mean 'plain'"),
        (["--jobs", "0"], "jobs must be 1 or more."),
        (["--seeds", "[]"], "seeds is empty."),
        (["--seeds", "0,0"], "seeds are different numbers from 0 on. Got 0, 0."),
        (["--output_dir", __file__], "output_dir: .* is a file. Name a folder."),
        (["--runs", "{../x: {}}"], "runs: '../x' names a folder."),
        (["--runs.lr", "{best_of: plain}"], "runs.lr.best_of: plain is a run of train. Name one of tune."),
        (["--runs.both", "{script: ensemble, members: [search]}"], "members, search: search is a run of tune."),
        (["--runs.lr", "{best_of: search, rank: 3}"], "rank is 3, and search keeps 1: raise its keep."),
        (["--reference", "search"], "search is a search, which is no model to compare"),
        (["--recipe", "none.yaml"], "There is no recipe none.yaml."),
    ],
)
def test_faults_are_named(words, fault, study):
    with pytest.raises(ValueError, match=fault):
        study(*words, runs={"plain": {}, "search": {"script": "tune", "settings": {"search": RATES}}})


def test_papers_are_not_compared_with_made_up_rows(tmp_path, study):
    rows = {"published": [{"row": "Theirs", "at": "Table 1", "run": "plain"}], "recipe": None, "runs": {"plain": {}}}
    for words in (["--data_dir", "rows"], ["--settings.data.source", "{class: Published}"], ["--scale", "demo"]):
        assert len(study("--seeds", "0", *words, **rows).build(tmp_path)) == 1
    with pytest.raises(ValueError, match="--scale small reads the papers' rows"):
        study("--seeds", "0", "--scale", "small", **rows).build(tmp_path)


def test_a_search_builds_on_the_studys_recipe_and_a_first_stage_does_not(tmp_path, study):
    runs = {"search": {"script": "tune", "settings": {"search": RATES}}, "stage": {"script": "pretrain"}}
    search, stage = study("--seeds", "0", runs=runs).build(tmp_path)
    assert read_recipe(TuneRecipe, ["--config", str(search.recipe)]).model.dropout == 0.3
    assert "base" not in stage.recipe.read_text()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--settings.data", "word"], "data"),
        (["--settings.tasks", "[{head: {class: MLP}}]", "--settings.data.limit", "{sst: 5}"], "tasks"),
        (["--epochs", ".5", "--settings.training.num_train_epochs", "ten"], "num_train_epochs"),
        (["--rates", "2", "--settings.training.learning_rate", "fast"], "learning_rate"),
        (["--steps", ".5", "--settings.schedule", "Anneal"], "schedule"),
    ],
)
def test_what_is_no_setting_is_refused_by_the_recipe(words, fault, study, tmp_path):
    (made,) = study("--seeds", "0", *words, runs={"plain": {}}).build(tmp_path)
    with pytest.raises(ValueError, match=fault):
        read_recipe(TrainRecipe, ["--config", str(made.recipe)]).arguments()


def test_a_dry_run_says_what_is_not_installed(study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    made = study("--seeds", "0", runs={"search": {"script": "tune", "settings": {"search": RATES}}})
    with pytest.raises(ModuleNotFoundError, match="optuna"):
        rehearse(made, made.build(tmp_path))


def test_a_sweep_is_named_by_its_name_and_finished_runs_stay_in_the_table(tmp_path, study, script, caplog):
    runs = {"lr": {"sweep": {"training.learning_rate": [1e-5, 2e-5]}}, "plain": {}}

    def made(*words):
        recipe = study("--seeds", "0", *words, runs=runs)
        return recipe, [replace(one, script=script) for one in recipe.build(tmp_path)]

    recipe, every = made()
    assert [run.name for run in every] == ["lr-1e-05", "lr-2e-05", "plain"]
    execute(every[2:], jobs=1)
    recipe, some = made("--only", "lr")
    assert [run.name for run in some] == ["lr-1e-05", "lr-2e-05"]
    assert [run.name for run in recipe.every(tmp_path, some)] == ["lr-1e-05", "lr-2e-05", "plain"]
    assert not caplog.records
    write_recipe(read_recipe(TrainRecipe, ["--model.dropout", "0.2", "--seed", "0"]), every[2].folder)
    assert [run.name for run in recipe.every(tmp_path, some)] == ["lr-1e-05", "lr-2e-05"]
    assert "It is not in the table: " in caplog.text
    assert "model.dropout (0.2, now 0.3)" in caplog.text


def test_the_studies_that_come_with_the_package_can_be_read(pytestconfig, monkeypatch, tmp_path):
    monkeypatch.chdir(pytestconfig.rootpath)
    files = sorted((pytestconfig.rootpath / "recipes" / "configs" / "tables").glob("*.yaml"))
    assert files
    for file in files:
        words = ["--config", str(file), "--output_dir", str(tmp_path), "--data_dir", "rows", "--trunk", "bert"]
        for run in read_recipe(ReproduceRecipe, words).build(pytestconfig.rootpath / "recipes"):
            read_recipe(KINDS[run.script.stem], ["--config", str(run.recipe)])
