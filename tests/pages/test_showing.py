from hf_multitask.pages.showing import shares
from hf_multitask.recipe import read_recipe
from hf_multitask.sections.train import TrainRecipe


def test_shares_of_a_run_of_another_machine_that_counted_steps():
    words = ["--training", "{tf32: true, max_steps: 5}", "--schedule", "{class: Annealed, steps_per_epoch: 2}"]
    found = shares(read_recipe(TrainRecipe, words), {"sst": 90, "qqp": 900, "sts": 9})
    assert [len(epochs) for epochs in found.values()] == [3, 3, 3]
    assert found["sts"][0] < found["sts"][1] < found["sts"][2]
