"""The published systems: every row of each at demo scale, and every run of the full scale to its first step."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from time import monotonic

import pytest
from commands import ROOT, call, load

from hf_multitask.recipe import read_recipe
from hf_multitask.studies.sections import KINDS, ReproduceRecipe, spelled_out

REPRODUCE = load("reproduce")
CONFIGS = ROOT / "recipes" / "configs"
SYSTEMS = sorted(path.stem for path in (CONFIGS / "systems").glob("*.yaml"))
SMALL = {
    "data": {"source": {"class": "Demo", "size": 96}, "max_length": 32},
    "model": {
        "size": {"num_hidden_layers": 1, "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 48},
    },
    "training": {"bf16": False, "disable_tqdm": True},
}

KILLS = 2
PARTS = {"bertogether": "sst_1,a_and_b", "pals": "average_2"}
"""What is killed: a search and what it finds, what begins with a first stage, and an ensemble of each."""


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_there_are_five():
    assert SYSTEMS == ["bertogether", "iterative_ensemble", "jack_of_all_trades", "pals", "sbrrt"]


@pytest.mark.recipe
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_row_of_a_system_is_there_at_demo_scale(system, tmp_path):
    words = ["--system", system, "--scale", "demo", "--jobs", "2", "--output_dir", tmp_path]
    code, out, err = call(REPRODUCE, *words)
    assert code == 0, err
    study = read_recipe(ReproduceRecipe, ["--config", str(CONFIGS / "systems" / f"{system}.yaml")])
    found = json.loads((tmp_path / "table.json").read_text())
    assert {row.row for row in study.published} <= {row["row"] for row in found["rows"]}
    assert all(row["ours"] for row in found["rows"])
    every = {row["run"] for row in found["rows"]} | {row["run"] for row in found["first_stages"]}
    assert every == {name for name, run in study.sections().items() if run.script != "tune"}
    text = (tmp_path / "table.md").read_text().strip()
    assert text in out
    assert "Demo: made-up sentences" in text
    assert "At the small scale" not in text


@pytest.mark.recipe
@pytest.mark.distributed
@pytest.mark.parametrize("system", PARTS)
def test_killed_at_random_it_ends_with_the_same_table(system, tmp_path):
    """Alone or together with its runs, at any moment of the time that a whole study takes."""
    words = [sys.executable, ROOT / "recipes" / "reproduce.py", "--system", system, "--scale", "demo"]
    words += ["--only", PARTS[system], "--jobs", "2", "--output_dir"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    begun = monotonic()
    subprocess.run([*words, tmp_path / "whole"], check=True, **quiet)
    takes = monotonic() - begun
    draw = random.Random(0)
    for number in range(KILLS):
        study = subprocess.Popen([*words, tmp_path / "cut"], start_new_session=True, **quiet)
        with suppress(subprocess.TimeoutExpired):
            study.wait(draw.uniform(0, takes))
        # One that ended before its time is not there any more.
        with suppress(ProcessLookupError):
            (os.killpg if number % 2 else os.kill)(study.pid, signal.SIGKILL)
        study.wait()
    subprocess.run([*words, tmp_path / "cut"], check=True, **quiet)
    assert without_speed(tmp_path / "whole") == without_speed(tmp_path / "cut")


@pytest.mark.recipe
def test_a_study_whose_ensembles_read_their_members_rows_is_kept(tmp_path):
    words = ["--system", "bertogether", "--scale", "demo", "--only", "a_and_b", "--jobs", "2", "--output_dir", tmp_path]
    words += ["--settings.data.limit", "{sst: 60}"]
    times = []
    for _ in range(2):
        code, _, err = call(REPRODUCE, *words)
        assert code == 0, err
        times.append((tmp_path / "a_and_b-0" / "report.json").stat().st_mtime)
    assert times[0] == times[1]
    code, _, err = call(REPRODUCE, *words[:-1], "{sst: 50}")
    assert code == 1
    assert "sst_only-0 was made with another data" in err


def without_speed(folder):
    found = json.loads((folder / "table.json").read_text())
    for row in found["rows"]:
        (row["ours"] or {}).pop("speed", None)
    for stage in found["first_stages"]:
        stage.pop("minutes")
    return found


@pytest.mark.recipe
def test_pages_of_runs_and_of_their_system(tmp_path):
    words = ["--system", "jack_of_all_trades", "--scale", "demo", "--jobs", "2", "--output_dir", tmp_path, "--reports"]
    words += ["--only", "smart-1,smart-3,mnrl", "--settings.training.num_train_epochs", "10"]
    code, _, err = call(REPRODUCE, *words)
    assert code == 0, err
    assert all((tmp_path / name / "report.html").is_file() for name in ("smart-1-0", "smart-3-0", "mnrl-0"))
    text = (tmp_path / "report.html").read_text()
    assert all(f'alt="{shown}"' in text for shown in ("rows by score", "sweep of smart"))
    assert "Table 2, row 1" in text


@pytest.mark.parametrize("system", SYSTEMS)
def test_all_that_the_full_scale_needs_can_be_built_and_does_a_step(system, tmp_path):
    sentence = "A sentence that goes on and on, so that it has more characters than the limit asks for, " * 4
    (tmp_path / "wiki-sentences.txt").write_text("".join(f"{number} {sentence}\n" for number in range(80)))
    scripts = json.dumps(dict.fromkeys(("train", "pretrain", "tune"), SMALL))
    words = ["--system", system, "--scale", "full", "--trunk", "null", "--seeds", "0", "--scripts", scripts]
    code, out, err = call(REPRODUCE, *words, "--data_dir", tmp_path, "--dry_run", "--output_dir", tmp_path / "out")
    assert code == 0, err
    whole, first, *rest = map(int, re.findall(r"\d+", out.rpartition("All ")[2]))
    assert f"All {whole} runs can begin: {first} were built and did their first step" in out
    assert whole == sum([first, *rest])
    assert not list((tmp_path / "out").glob("*/report.json"))


@pytest.mark.parametrize("scale", ["small", "full"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_scale_has_the_same_runs(system, scale, tmp_path):
    words = ["--config", str(CONFIGS / "systems" / f"{system}.yaml")]
    names = [
        {run.name for run in read_recipe(ReproduceRecipe, [*words, *more]).build(ROOT / "recipes")}
        for more in (
            ["--output_dir", str(tmp_path / "plain"), "--data_dir", "data"],
            [
                "--config",
                str(CONFIGS / "scales" / f"{scale}.yaml"),
                "--output_dir",
                str(tmp_path),
                "--data_dir",
                "data",
            ],
        )
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize("scale", ["small", "full"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_no_two_runs_of_a_system_are_the_same(system, scale, tmp_path):
    words = ["--system", system, "--scale", scale, "--seeds", "0", "--data_dir", "data", "--output_dir", str(tmp_path)]
    study = read_recipe(ReproduceRecipe, spelled_out(words, CONFIGS))
    sections, seen = study.sections(), {}
    for made in study.build(ROOT / "recipes"):
        if sections[made.name].best_of is None:
            recipe = read_recipe(KINDS[sections[made.name].script], ["--config", str(made.recipe)])
            said = json.dumps({**asdict(recipe), "output_dir": None}, default=str)
            assert said not in seen, f"{made.name} is {seen[said]}"
            seen[said] = made.name


def test_a_system_that_is_none():
    code, _, err = call(REPRODUCE, "--system", "bert", "--scale", "demo")
    assert code == 1
    assert "Unknown system 'bert'." in err


def test_a_system_without_a_scale_is_not_begun():
    code, _, err = call(REPRODUCE, "--system", "sbrrt")
    assert code == 1
    assert "--system wants a --scale: demo" in err


def test_a_word_that_ends_like_an_option_is_none():
    assert spelled_out(["--output_dir", "./system", "--only", "myscale"], CONFIGS)[1::2] == ["./system", "myscale"]
