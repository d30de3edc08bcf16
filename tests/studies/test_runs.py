import contextlib
import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from statistics import mean, stdev

import pytest

from hf_multitask.recipe import read_recipe, write_recipe
from hf_multitask.sections.ensemble import EnsembleRecipe
from hf_multitask.sections.train import TrainRecipe
from hf_multitask.sections.tune import TuneRecipe
from hf_multitask.studies import course
from hf_multitask.studies.course import perform
from hf_multitask.studies.jobs import gpu_at
from hf_multitask.studies.rehearsal import attempts, rehearse
from hf_multitask.studies.runs import Run, execute, results, table
from hf_multitask.studies.sections import KINDS, ReproduceRecipe

# Stands in for a recipe: it notes how it was called, and leaves a report unless its file says not to.
SCRIPT = """
import json, os, pathlib, sys, time
recipe = pathlib.Path(sys.argv[2])
folder = recipe.with_suffix("")
folder.mkdir(exist_ok=True)
with open(recipe.with_suffix(".calls"), "a") as calls:
    print(*sys.argv[3:], "threads", os.environ["OMP_NUM_THREADS"], file=calls)
recipe.with_suffix(".pid").write_text(str(os.getpid()))
said, *more = recipe.read_text().split()
if said == "bad":
    sys.exit("It is bad.")
if said == "wait":
    time.sleep(float(*more))
if said == "need":
    assert (recipe.parent / more[0] / "report.json").is_file()
entry = {"split": "dev", "n": 4, "metric": "accuracy", "scored": True, "accuracy": float(len(recipe.read_text())) / 10}
report = {"tasks": {"sst": entry}, "examples_per_second": 1.0, "seconds": 30.0, "seed": 0, "trunk": None, "beside": {}}
(folder / "report.json").write_text(json.dumps({**report, "about": {}, "versions": {}}))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Makes a run whose recipe file holds some text."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "script.py").write_text(SCRIPT)

    def made(name, seed, text, *needs):
        recipe = tmp_path / f"{name}-{seed}.yaml"
        recipe.write_text(text)
        needed = tuple(tmp_path / f"{need}-{seed}" for need in needs)
        return Run(name, seed, tmp_path / "script.py", recipe, recipe.with_suffix(""), needed)

    return made


def calls(run):
    return run.recipe.with_suffix(".calls").read_text().splitlines()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failed_run_does_not_lose_the_others_and_finished_ones_are_kept(run, jobs, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    runs = [run("one", 0, "a"), run("two", 0, "bad"), run("three", 0, "abc"), run("four", 0, "d", "one")]
    runs.append(run("five", 0, "e", "two"))
    for _ in range(2):
        words = r"2 of 5 runs failed.\n\ntwo-0 ended with code 1.*ends:\nIt is bad.\n\nfive-0 needs two-0, and was not"
        with pytest.raises(RuntimeError, match=words):
            execute(runs, jobs=jobs)
    assert [len(calls(one)) for one in runs[:4]] == [1, 2, 1, 1]
    assert calls(runs[0]) == [f"--resume auto --overwrite false threads {4 // jobs}"]
    assert [line["run"] for line in results(runs)] == ["one", "three", "four"]


def test_only_what_may_be_resumed_keeps_its_checkpoints(run):
    runs = [run("good", 0, "a"), run("worse", 0, "bad")]
    for _ in ("while it is made", "left by a study that was killed"):
        for made in runs:
            (made.folder / "checkpoint-3").mkdir(parents=True, exist_ok=True)
        with pytest.raises(RuntimeError, match="1 of 2 runs failed"):
            execute(runs, jobs=1)
        assert [made.folder.name for made in runs if (made.folder / "checkpoint-3").is_dir()] == ["worse-0"]
        assert runs[0].finished


def test_a_run_begins_when_what_it_needs_is_there(run):
    first = run("first", 0, "wait .3")
    execute([run("second", 0, "need first-0", "first"), first], jobs=2)


def test_two_studies_of_the_same_runs_share_them(run):
    one = run("one", 0, "wait 1")
    first, second = one.start(1, 0), one.start(1, 1)
    for process in (first, second):
        process.join()
        assert process.exitcode == 0
    assert len(calls(one)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_ends_a_study_ends_its_runs(run, number, tmp_path):
    long = run("long", 0, "wait 60")
    code = f"""
from pathlib import Path
from hf_multitask.studies.jobs import Stopped
from hf_multitask.studies.jobs import gpu_at
from hf_multitask.studies.runs import Run, execute
if __name__ == "__main__":
    run = Run("long", 0, Path({str(long.script)!r}), Path({str(long.recipe)!r}), Path({str(long.folder)!r}))
    try:
        execute([run], jobs=1)
    except Stopped:
        raise SystemExit(143)
"""
    (tmp_path / "study.py").write_text(code)
    study = subprocess.Popen([sys.executable, str(tmp_path / "study.py")], stderr=subprocess.DEVNULL)
    pid = int(until(lambda: (tmp_path / "long-0.pid").read_text()))
    study.send_signal(number)
    assert study.wait() == (143 if number == signal.SIGTERM else -number)
    until(lambda: not alive(pid))
    # Nothing holds the lock, and the run can be begun again.
    (tmp_path / "long-0.yaml").write_text("short")
    execute([long], jobs=1)


def until(look, seconds=60):
    """What `look` gives, once it gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError):
            if found := look():
                return found
        time.sleep(0.05)
    raise AssertionError("It did not come.")


def alive(pid):
    """Whether a process goes on: one that nobody has waited for yet is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_folder_that_was_made_by_other_settings_is_refused(tmp_path):
    runs = {"plain": {}, "cycle": {"settings": {"schedule": {"class": "Cycle"}}}}
    for made in study(tmp_path, "--seeds", "0", runs=runs).build(tmp_path):
        write_recipe(read_recipe(TrainRecipe, ["--config", str(made.recipe)]), made.folder)
    assert len(study(tmp_path, "--seeds", "0", runs=runs).build(tmp_path)) == 2
    words = ["--seeds", "0", "--settings.training.bf16", "true", "--settings.model.dropout", "0.2"]
    other = study(tmp_path, *words, runs=runs)
    with pytest.raises(ValueError, match=r"plain-0 was made with another model, training\.") as error:
        other.build(tmp_path)
    assert len(error.value.faults) == 2


def test_what_was_made_of_a_run_does_not_outlive_it(tmp_path):
    runs = {"plain": {}, "both": {"script": "ensemble", "members": ["plain"]}}
    (tmp_path / "script.py").write_text(SCRIPT)
    plain, both = [
        replace(made, script=tmp_path / "script.py")
        for made in study(tmp_path, "--seeds", "0", runs=runs).build(tmp_path)
    ]
    execute([plain, both], jobs=1)
    assert both.outdated() == []
    assert len(study(tmp_path, "--seeds", "0", runs=runs).build(tmp_path)) == 2
    report = plain.folder / "report.json"
    for spoil in (lambda: report.write_text(report.read_text() + "\n"), report.unlink):
        spoil()
        with pytest.raises(ValueError, match=r"both-0 was made of another plain-0 than is there now\. Remove it too\."):
            study(tmp_path, "--seeds", "0", runs=runs).build(tmp_path)
    rmtree(both.folder)
    assert not both.outdated()


def test_a_table_that_fails_hides_no_run_that_failed(run, tmp_path, monkeypatch, capsys):
    made = study(tmp_path, "--seeds", "0", "--results", str(tmp_path / "shown"), runs={"plain": {}})
    made.build(tmp_path)

    def refuse(*_):
        raise ValueError("No room for it.")

    monkeypatch.setattr(course, "write_results", refuse)
    with pytest.raises(RuntimeError, match="1 of 2 runs failed") as failed:
        perform(made, [run("good", 0, "a"), run("worse", 0, "bad")])
    assert str(failed.value).endswith("It is bad.\n\nWhat is finished could not be shown: No room for it.")
    assert "| good | 0" in capsys.readouterr().out


def test_two_runs_of_one_name_are_refused_and_names_are_those_of_folders(tmp_path):
    rates = {"sweep": {"training.learning_rate": [1e-5, 2e-5]}}
    with pytest.raises(ValueError, match="Two are called lr-2e-05"):
        study(tmp_path, runs={"lr": rates, "lr-2e-05": {}})
    trunks = {"sweep": {"model.trunk": ["/a/bert", "/b/bert"]}}
    made = study(tmp_path, "--seeds", "0", runs={"of": trunks})
    assert list(made.sections()) == ["of-a-bert", "of-b-bert"]


def test_what_names_nothing_in_a_run_is_refused_by_the_run(tmp_path):
    runs = {"of": {"settings": {"regularizers": [{"class": "Smart"}]}, "sweep": {"regularizers.1.weight": [2, 3]}}}
    with pytest.raises(ValueError, match=r"regularizers: Unknown item '1'.*\(runs\.of\)"):
        study(tmp_path, runs=runs)
    runs = {"heavy": {"settings": {"tasks": {"stss": {"weight": 5}}}}}
    made = study(tmp_path, "--settings.tasks", "[sst, sts]", runs=runs)
    with pytest.raises(ValueError, match=r"tasks: Unknown item 'stss'.*\(runs\.heavy\)"):
        made.build(tmp_path)
    # A scale's limit is for whoever reads the task; of a task that nobody knows it is a fault.
    limit = {"data": {"limit": {"qqp": 5, "qpq": 6}}}
    (made,) = study(tmp_path, "--seeds", "0", runs={"few": {"settings": {"tasks": ["sst"], **limit}}}).build(tmp_path)
    with pytest.raises(ValueError, match=r"data\.limit: Unknown task .qpq."):
        read_recipe(TrainRecipe, ["--config", str(made.recipe)])


def test_factors_multiply_what_the_recipe_below_says(tmp_path):
    base = {"training": {"num_train_epochs": 10, "learning_rate": 1e-5, "max_grad_norm": 2.0}}
    (tmp_path / "below.yaml").write_text(json.dumps(base))
    words = ["--seeds", "0", "--recipe", str(tmp_path / "below.yaml"), "--epochs", "0.1", "--rates", "4"]
    runs = {"plain": {}, "more": {"settings": {"training": {"num_train_epochs": 20}}}}
    for made, epochs in zip(study(tmp_path, *words, runs=runs).build(tmp_path), (1, 2), strict=True):
        found = read_recipe(TrainRecipe, ["--config", str(made.recipe)]).training
        assert found == {"num_train_epochs": epochs, "learning_rate": 4e-5, "max_grad_norm": 2.0}


def test_a_dry_run_tries_every_choice_of_a_search():
    search = "{model.dropout: {low: 0.1, high: 0.3}, training.per_device_train_batch_size: {choices: [8, 16, 32]}}"
    tried = attempts("tune", read_recipe(TuneRecipe, ["--search", search]))
    assert [one.training["per_device_train_batch_size"] for one in tried] == [8, 16, 32]
    assert [one.model.dropout for one in tried] == [0.1, 0.3, 0.1]


def test_a_search_of_other_trials_is_another_search(tmp_path):
    runs = {"search": {"script": "tune", "settings": {"trials": 2, "search": RATES}}}
    for made in study(tmp_path, "--seeds", "0", runs=runs).build(tmp_path):
        write_recipe(read_recipe(TuneRecipe, ["--config", str(made.recipe)]), made.folder)
    runs["search"]["settings"]["trials"] = 3
    with pytest.raises(ValueError, match=r"search-0 was made with another trials\."):
        study(tmp_path, "--seeds", "0", runs=runs).build(tmp_path)


def test_the_table_shows_means_and_deviations(run):
    runs = [run("one", 0, "a"), run("one", 1, "abcd"), run("two", 0, "ab")]
    execute(runs, jobs=1)
    found = list(results(runs))
    assert found[1] == {"run": "one", "seed": 1, "sst": 0.4, "score": 0.4, "minutes": 0.5}
    one, two = table(found).splitlines()[2:]
    assert f"{mean([0.1, 0.4]):.3f} ± {stdev([0.1, 0.4]):.3f}" in one
    assert [cell.strip() for cell in two.split("|")[1:-1]] == ["two", "0", "0.200", "0.200", "0.5"]
    assert math.isclose(found[2]["score"], 0.2)


RATES = {"training.learning_rate": {"low": 1e-5, "high": 1e-4}}


def study(tmp_path, *words, **sections):
    (tmp_path / "base.yaml").write_text("schedule: {class: Annealed, end: 0.5}\nmodel: {dropout: 0.3}\n")
    given = {"recipe": str(tmp_path / "base.yaml"), "output_dir": str(tmp_path / "out"), **sections}
    (tmp_path / "study.yaml").write_text(json.dumps(given))
    return read_recipe(ReproduceRecipe, ["--config", str(tmp_path / "study.yaml"), *words])


def test_each_run_has_a_recipe_that_its_script_reads(tmp_path):
    runs = {
        "plain": {},
        "cycle": {"settings": {"schedule": {"class": "Cycle"}, "model": {"dropout": 0.2, "pooling": "cls"}}},
        "first": {"script": "pretrain"},
    }
    words = ["--seeds", "3,4", "--data_dir", "rows", "--trunk", "bert", "--settings.model.dropout", "0.1"]
    made = study(tmp_path, *words, runs=runs).build(tmp_path / "recipes")
    assert [(run.name, run.seed) for run in made] == [(name, seed) for seed in (3, 4) for name in runs]
    assert {run.script.name for run in made if run.name == "first"} == {"pretrain.py"}
    plain, cycle = (read_recipe(TrainRecipe, ["--config", str(run.recipe)]) for run in made[3:5])
    assert plain.schedule == {"class": "Annealed", "end": 0.5}
    assert cycle.schedule == {"class": "Cycle"}
    assert plain.data.source == cycle.data.source == {"class": "Course", "data_dir": "rows"}
    assert (plain.model.trunk, plain.model.dropout, plain.model.pooling) == ("bert", 0.1, "mean")
    assert (cycle.model.trunk, cycle.model.dropout, cycle.model.pooling) == ("bert", 0.2, "cls")
    assert (plain.seed, plain.output_dir) == (4, str(made[3].folder))
    assert [run.name for run in study(tmp_path, "--only", "cycle", "--seeds", "0", runs=runs).build(tmp_path)] == [
        "cycle"
    ]


def test_a_student_is_trained_by_a_runs_recipe_once_that_is_finished(tmp_path):
    taught = {"script": "ensemble", "members": ["one"], "student": "other", "settings": {"rule": "distill"}}
    made = study(tmp_path, "--seeds", "5", "--only", "taught", runs={"one": {}, "other": {}, "taught": taught})
    one, other, last = made.build(tmp_path)
    assert last.needs == (other.folder, one.folder)
    recipe = read_recipe(EnsembleRecipe, ["--config", str(last.recipe)])
    assert recipe.student == str(other.recipe)
    with pytest.raises(ValueError, match=r"runs\.one: Unknown run 'none'"):
        study(tmp_path, runs={"one": {**taught, "members": ["two"], "student": "none"}, "two": {}})
    with pytest.raises(ValueError, match="student is for rule distill of script ensemble"):
        study(tmp_path, runs={"one": {"student": "two"}, "two": {}})


def test_limits_hold_for_a_run_that_changes_a_task_by_its_name(tmp_path):
    runs = {"plain": {}, "cosine": {"settings": {"tasks": {"sts": {"head": {"class": "Cosine"}}}}}}
    made = study(tmp_path, "--seeds", "0", "--settings.data.limit", "{sst: 8, qqp: 9}", runs=runs).build(tmp_path)
    for run in made:
        assert read_recipe(TrainRecipe, ["--config", str(run.recipe)]).data.limit == {"sst": 8, "qqp": 9}


def test_what_a_search_found_is_scaled_too(tmp_path):
    scaled = {"small": {"training": {"num_train_epochs": 7}}}
    runs = {
        "search": {"script": "tune", "settings": {"search": RATES}},
        "found": {"best_of": "search", "settings": {"model": {"dropout": 0.2}}, "scaled": scaled},
    }
    words = ["--scale", "small", "--scripts", "{train: {training: {save_total_limit: 1}}}", "--seeds", "0"]
    _, found = study(tmp_path, *words, runs=runs).build(tmp_path)
    (tmp_path / "out" / "search-0").mkdir()
    (tmp_path / "out" / "search-0" / "best.yaml").write_text("training: {learning_rate: 5e-5, num_train_epochs: 2}")
    recipe = read_recipe(TrainRecipe, ["--config", str(found.recipe)])
    assert recipe.model.dropout == 0.2
    assert recipe.training == {"learning_rate": 5e-5, "num_train_epochs": 7, "save_total_limit": 1}


def test_a_dry_run_waits_for_no_evaluation(tmp_path):
    size = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    small = {"data": {"source": {"class": "Demo", "size": 64}}, "model": {"size": size}}
    runs = {"patient": {"settings": {"early_stopping": 2, **small}}}
    made = study(tmp_path, "--seeds", "0", runs=runs)
    rehearse(made, made.build(tmp_path))


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--only", "plan"], "only: Unknown run 'plan'. Did you mean 'plain'"),
        (["--jobs", "0"], "jobs must be 1 or more."),
        (["--seeds", "[]"], "seeds is empty."),
        (["--recipe", "none.yaml"], "There is no recipe none.yaml."),
    ],
)
def test_faults_are_named(tmp_path, words, fault):
    with pytest.raises(ValueError, match=fault):
        study(tmp_path, *words, runs={"plain": {}})


def test_the_studies_that_come_with_the_package_can_be_read(pytestconfig, monkeypatch, tmp_path):
    monkeypatch.chdir(pytestconfig.rootpath)
    files = sorted((pytestconfig.rootpath / "recipes" / "configs" / "tables").glob("*.yaml"))
    assert files
    for file in files:
        words = ["--config", str(file), "--output_dir", str(tmp_path), "--data_dir", "rows", "--trunk", "bert"]
        for run in read_recipe(ReproduceRecipe, words).build(pytestconfig.rootpath / "recipes"):
            read_recipe(KINDS[run.script.stem], ["--config", str(run.recipe)])


@pytest.mark.parametrize(("count", "seen", "found"), [(0, None, None), (0, "", None), (2, None, "1"), (2, "4,6", "6")])
def test_of_several_gpus_each_job_has_one(count, seen, found, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    if seen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    assert gpu_at(3) == found
