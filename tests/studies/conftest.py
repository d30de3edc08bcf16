"""Studies whose runs are a script that stands in for the recipes."""

import json

import pytest

from hf_multitask.recipe import read_recipe
from hf_multitask.studies.runs import Run
from hf_multitask.studies.sections import ReproduceRecipe

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
def script(tmp_path, monkeypatch):
    """The script, as many threads as there are cores."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path / "script.py"


@pytest.fixture
def run(tmp_path, script):
    """Makes a run whose recipe file holds some text."""

    def made(name, seed, text, *needs):
        recipe = tmp_path / f"{name}-{seed}.yaml"
        recipe.write_text(text)
        needed = tuple(tmp_path / f"{need}-{seed}" for need in needs)
        return Run(name, seed, script, recipe, recipe.with_suffix(""), needed)

    return made


@pytest.fixture
def study(tmp_path):
    """Reads a study that builds on a recipe and whose runs go to `out`."""

    def read(*words, **sections):
        (tmp_path / "base.yaml").write_text("schedule: {class: Annealed, end: 0.5}\nmodel: {dropout: 0.3}\n")
        given = {"recipe": str(tmp_path / "base.yaml"), "output_dir": str(tmp_path / "out"), **sections}
        (tmp_path / "study.yaml").write_text(json.dumps(given))
        return read_recipe(ReproduceRecipe, ["--config", str(tmp_path / "study.yaml"), *words])

    return read
