import numpy as np
import pytest
import torch

from hf_multitask import PalConfig, Regression, Task
from hf_multitask.evaluation.answers import Answers, save_answers
from hf_multitask.pages.runs import Shown, judged
from hf_multitask.pages.showing import embeddings, shares, show
from hf_multitask.recipe import read_recipe
from hf_multitask.report import Report
from hf_multitask.sections.train import TrainRecipe


def test_a_report_without_a_model_is_named(tmp_path):
    entry = {"split": "dev", "n": 2, "metric": "pearson", "scored": True, "pearson": 1.0}
    Report({"own": entry}, 1.0, 1.0, 0).save(tmp_path)
    with pytest.raises(ValueError, match="holds a report, and no model that it is about"):
        show(tmp_path)


def test_a_scatter_has_the_range_of_its_task(tmp_path):
    values = np.array([-1.0, 0.5])
    save_answers({"own": Answers(values[:, None], values, values)}, tmp_path)
    entry = {"split": "dev", "n": 2, "metric": "pearson", "scored": True, "pearson": 1.0}
    Report({"own": entry}, 1.0, 1.0, 0).save(tmp_path)
    task = Task("own", Regression(-1, 1), pair=True, metric="pearson")
    (figure,) = judged(Shown(tmp_path, {"own": task.describe()}), "own").values()
    assert figure.axes[0].get_xlabel() == "true value (-1 to 1)"


def test_shares_of_a_run_of_another_machine_that_counted_steps():
    words = ["--training", "{tf32: true, max_steps: 5}", "--schedule", "{class: Annealed, steps_per_epoch: 2}"]
    found = shares(read_recipe(TrainRecipe, words), {"sst": 90, "qqp": 900, "sts": 9})
    assert [len(epochs) for epochs in found.values()] == [3, 3, 3]
    assert found["sts"][0] < found["sts"][1] < found["sts"][2]


@pytest.mark.parametrize("adapters", [False, True])
def test_embeddings_are_what_the_head_reads_with_adapters_too(adapters, model, rows, tmp_path):
    if adapters:
        model.add_adapters(PalConfig(width=4, heads=2))
        for name, weight in model.named_parameters():
            if "pal" in name.lower():
                torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(tmp_path)
    found = embeddings(tmp_path, rows, most=9)
    assert {name: vectors.shape for name, vectors in found.items()} == {"sst": (9, 16)}
    scores = model.heads["sst"](torch.from_numpy(found["sst"]))
    torch.testing.assert_close(scores, model.eval().predict("sst", rows["sst"]["first"][:9]).scores)
