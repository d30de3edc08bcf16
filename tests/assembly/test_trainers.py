import pytest
import torch
from commands import TINY

from hf_multitask.assembly.trainers import build_trainer, read_rows
from hf_multitask.recipe import read_recipe
from hf_multitask.sections.train import TrainRecipe


@pytest.fixture
def made(tmp_path):
    """The trainer of a tiny recipe with some words more."""
    (tmp_path / "tiny.yaml").write_text(TINY)

    def build(*words):
        argv = ["--config", str(tmp_path / "tiny.yaml"), "--output_dir", str(tmp_path / "out"), *map(str, words)]
        recipe = read_recipe(TrainRecipe, argv)
        return build_trainer(recipe, read_rows(recipe, recipe.tasks))

    return build


def test_tasks_that_are_not_trained_are_judged_and_keep_their_heads(made):
    trainer = made("--train_on", "sst", "--training.max_steps", "2")
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters() if name.startswith("heads.")}
    trainer.train()
    moved = {name.split(".")[1] for name, weight in trainer.model.named_parameters() if moves(before, name, weight)}
    assert moved == {"sst"}
    assert set(trainer.report(trainer.eval_dataset, resamples=0).tasks) == {"sst", "qqp", "sts"}


def moves(before, name, weight):
    return name in before and not torch.equal(before[name], weight)


@pytest.mark.parametrize("tuner", ["null", "{class: Pal, width: 12}"])
def test_a_model_that_goes_on_from_another_begins_as_it_is(made, tuner, tmp_path):
    torch.manual_seed(1)
    first = made("--tuner", tuner).model
    first.save_pretrained(tmp_path / "first")
    torch.manual_seed(2)
    words = ["--model.trunk", tmp_path / "first", "--tuner", tuner, "--model.size", "{}"]
    other, same = made(*words).model, made(*words, "--model.keep_heads").model
    for name, weight in first.state_dict().items():
        torch.testing.assert_close(same.state_dict()[name], weight, atol=0, rtol=0)
    assert not torch.equal(other.heads["sst"].out.weight, first.heads["sst"].out.weight)
    with pytest.raises(ValueError, match="keep_heads needs a trunk that is a model of the same tasks"):
        made(*words, "--model.keep_heads", "--tasks", "sst,qqp")


def test_keep_heads_wants_a_trunk(made):
    with pytest.raises(ValueError, match="keep_heads is for a trunk that is a trained model"):
        made("--model.keep_heads")
    with pytest.raises(ValueError, match="train_on: Unknown task 'cfimdb'"):
        made("--train_on", "cfimdb")
