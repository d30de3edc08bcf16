"""Folders that recipes write to."""

import pytest

from hf_multitask.assembly.folders import claim_folder
from hf_multitask.recipe import read_recipe, write_recipe
from hf_multitask.sections.ensemble import EnsembleRecipe
from hf_multitask.sections.train import TrainRecipe


def test_a_folder_may_be_called_like_a_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = read_recipe(TrainRecipe, ["--tasks", "sst", "--output_dir", "sst"])
    folder = claim_folder(recipe)
    write_recipe(recipe, folder)
    (folder / "model.safetensors").touch()
    claim_folder(recipe, resume=True)
    assert (folder / "model.safetensors").is_file()
    claim_folder(read_recipe(TrainRecipe, ["--tasks", "sst", "--output_dir", "sst", "--overwrite", "true"]))
    assert not (folder / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (TrainRecipe, ["--model.trunk", "out/first"]),
        (TrainRecipe, ["--data_dir", "out/first"]),
        (TrainRecipe, ["--tasks", "[{name: sst, data: {class: Files, train: out/first}}]"]),
        (EnsembleRecipe, ["--members", "one,other", "--rule", "distill", "--student", "out/first"]),
    ],
)
def test_what_a_run_begins_with_is_not_overwritten(kind, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "first").mkdir(parents=True)
    with pytest.raises(ValueError, match="The run begins with out/first, which lies in its own output_dir"):
        claim_folder(read_recipe(kind, [*words, "--output_dir", "out", "--overwrite", "true"]))


def test_a_run_that_was_killed_while_it_wrote_its_recipe_can_begin_again(tmp_path):
    recipe = read_recipe(TrainRecipe, ["--output_dir", str(tmp_path / "out")])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".recipe.yaml.1234").write_text("tas")
    claim_folder(recipe)
    assert (tmp_path / "out" / "recipe.yaml").is_file()
    (tmp_path / "out" / ".model").mkdir()
    with pytest.raises(ValueError, match="holds an earlier run or other files"):
        claim_folder(recipe)
