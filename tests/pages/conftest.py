"""Finished folders with their pages."""

import json

import pytest
from commands import ROOT, TINY, call, load

from hf_multitask.recipe import read_recipe
from hf_multitask.studies.runs import Run
from hf_multitask.studies.sections import ReproduceRecipe
from hf_multitask.studies.tables import write_tables

REPORT, TRAIN, ENSEMBLE = load("report"), load("train"), load("ensemble")


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Two tiny models, their ensemble and their soup, the latter three with a page, and the first two side by side."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "tiny.yaml").write_text(TINY)
    source = ["--data", "{source: {class: Demo, size: 64}}"]
    for name, words in (("one", ["--schedule.class", "Annealed"]), ("two", ["--seed", "1"])):
        code, _, err = call(TRAIN, "--config", folder / "tiny.yaml", "--output_dir", folder / name, *words)
        assert code == 0, err
    members = ",".join(str(folder / name) for name in ("one", "two"))
    made = ["--members", members, "--cache", folder / "answers", *source, "--output_dir"]
    for recipe, more in (
        (ENSEMBLE, [*made, folder / "both"]),
        (ENSEMBLE, [*made, folder / "soup", "--rule", "soup"]),
        *((REPORT, ["--folder", folder / name]) for name in ("one", "both", "soup")),
        (REPORT, ["--folder", folder / "one", "--beside", folder / "two"]),
    ):
        code, _, err = call(recipe, *more)
        assert code == 0, err
    return folder


@pytest.fixture(scope="session")
def system(folders):
    """The page of a study of these runs, and what table.json holds of them."""
    ensemble = {"script": "ensemble", "members": ["one", "two"]}
    content = {"title": "A system", "output_dir": str(folders), "reports": True, "seeds": [0]}
    content |= {"runs": {"one": {}, "two": {}, "both": ensemble}}
    (folders / "study.yaml").write_text(json.dumps(content))
    recipe = read_recipe(ReproduceRecipe, ["--config", str(folders / "study.yaml")])
    scripts = {"one": "train", "two": "train", "both": "ensemble"}
    runs = [
        Run(name, 0, ROOT / "recipes" / f"{script}.py", folders / name / "recipe.yaml", folders / name)
        for name, script in scripts.items()
    ]
    write_tables(recipe, runs)
    return folders / "report.html", json.loads((folders / "table.json").read_text())
