"""Where the rows of a finished folder are."""

from dataclasses import replace
from pathlib import Path

import pytest

from hf_multitask.assembly.finished import made_by, own_sources, read_asking
from hf_multitask.recipe import read_recipe, write_recipe
from hf_multitask.sections.ensemble import EnsembleRecipe
from hf_multitask.sections.evaluate import EvaluateRecipe
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
    recipe, asked, _ = read_asking(EnsembleRecipe, ["--members", str(member), *words], lambda one: one.members)
    assert {task: source["train"] for task, source in asked.items()} == ({"mood": file} if file else {})
    Path("both").mkdir()
    # As it was written by earlier versions, and as it is written now.
    for written in (recipe, replace(recipe, sources=asked)):
        write_recipe(written, Path("both"))
        assert own_sources(made_by(Path("both"))) == asked


def test_an_ensemble_knows_its_rows_when_its_members_are_gone(member):
    recipe, asked, _ = read_asking(EnsembleRecipe, ["--members", str(member)], lambda one: one.members)
    Path("both").mkdir()
    write_recipe(replace(recipe, sources=asked), Path("both"))
    member.rename("elsewhere")
    evaluating, found, _ = read_asking(EvaluateRecipe, ["--model", "both"], lambda one: [one.model])
    assert found == asked != {}
    with pytest.raises(ValueError, match="sources: Unknown task 'moods'"):
        replace(evaluating, sources={"moods": {"class": "Demo"}}).check_tasks(["mood"])


def test_limited_rows_are_drawn_as_the_model_drew_them(member):
    recipe = read_recipe(TrainRecipe, ["--config", str(member / "recipe.yaml"), "--seed", "3"])
    write_recipe(recipe, member)
    ensemble, *_, drawn = read_asking(EnsembleRecipe, ["--members", str(member)], lambda one: one.members)
    assert (ensemble.seed, drawn) == (0, 3)
    Path("both").mkdir()
    write_recipe(ensemble, Path("both"))
    for words, seed in (([], 3), (["--seed", "5"], 3)):
        recipe, *_, drawn = read_asking(EvaluateRecipe, ["--model", "both", *words], lambda one: [one.model])
        assert drawn == seed
