"""Where the rows of a finished folder are."""

from pathlib import Path

import pytest

from hf_multitask.assembly.finished import made_by, own_sources, read_asking
from hf_multitask.recipe import read_recipe, write_recipe
from hf_multitask.sections.ensemble import EnsembleRecipe
from hf_multitask.sections.train import TrainRecipe

OWN = "[{{name: mood, objective: {{class: Classification, labels: [sad, glad]}}, data: {{class: Files, train: {0}}}}}]"


@pytest.fixture
def member(tmp_path, monkeypatch):
    """A folder that was trained on a task with rows of its own, and a recipe with others."""
    monkeypatch.chdir(tmp_path)
    for name in ("member", "student"):
        recipe = read_recipe(TrainRecipe, ["--tasks", OWN.format(f"{name}.csv"), "--data.source.class", "Demo"])
        Path(name).mkdir()
        write_recipe(recipe, Path(name))
    return Path("member")


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ([], "member.csv"),
        (["--data.source.class", "Published"], None),
        (["--rule", "distill", "--student", "student/recipe.yaml"], "student.csv"),
    ],
)
def test_an_ensemble_is_shown_with_the_rows_that_it_was_judged_on(words, file, member):
    recipe, asked = read_asking(EnsembleRecipe, ["--members", str(member), *words], lambda one: one.members)
    Path("both").mkdir()
    write_recipe(recipe, Path("both"))
    found = own_sources(made_by(Path("both")))
    assert {task: source["train"] for task, source in found.items()} == ({"mood": file} if file else {})
    if not recipe.student:
        assert asked == found
