import numpy as np
import pytest
import torch

from hf_multitask import SST, STS
from hf_multitask.ensembles.ballots import Ballot
from hf_multitask.models.combiners import Mean, Vote, Weighted
from hf_multitask.recipe import RecipeError, read_recipe, write_recipe
from hf_multitask.sections.ensemble import EnsembleRecipe

MEMBERS = ["--members", "a,b"]


def read(*argv):
    return read_recipe(EnsembleRecipe, [*MEMBERS, *argv])


def ballot(task):
    scores = torch.randn(2, 30, task.objective.outputs, dtype=torch.float64)
    return Ballot(task.describe(), scores, np.arange(30) % 5, (True, True))


def test_a_recipe_reads_back_equal(tmp_path):
    recipe = read("--rule", "threshold", "--bars", "{sst: .5}", "--data_dir", "data", "--cache", "null")
    assert read_recipe(EnsembleRecipe, ["--config", str(write_recipe(recipe, tmp_path))]) == recipe
    assert recipe.data.source == {"class": "Course", "data_dir": "data"}


@pytest.mark.parametrize("rule", ["mean", "weighted", "vote", "greedy", "route", "champions"])
def test_every_rule_chooses_a_combiner_of_both_members(rule):
    recipe = read("--rule", rule, "--trials", "3", *([] if rule == "route" else ["--over", "logits"]))
    chosen = recipe.choose({task.name: ballot(task) for task in (SST, STS)})
    assert [len(chosen[name].weigh([True, True])) for name in ("sst", "sts")] == [2, 2]


def test_votes_are_for_labels_and_priors_count():
    ballots = {task.name: ballot(task) for task in (SST, STS)}
    assert read("--rule", "vote", "--prior", "[1, 3]").choose(ballots) == {"sst": Vote([1, 3]), "sts": Weighted([1, 3])}
    assert read("--rule", "vote").choose(ballots) == {"sst": Vote(), "sts": Mean()}
    assert read("--rule", "mean", "--prior", "[1, 3]").choose(ballots) == dict.fromkeys(ballots, Weighted([1, 3]))


def test_a_bar_is_that_of_its_task():
    recipe = read("--rule", "threshold", "--bars", "{sst: 2}")
    chosen = recipe.choose({task.name: ballot(task) for task in (SST, STS)})
    assert type(chosen["sst"]).__name__ == "Route"
    assert chosen["sts"].weights == [1, 1]


@pytest.mark.parametrize(
    ("argv", "fault"),
    [
        (["--rule", "men"], "rule: Unknown choice 'men'. Did you mean 'mean'?"),
        (["--rule", "distill"], "student and rule distill go together."),
        (["--student", "a.yaml"], "student and rule distill go together."),
        (["--rule", "threshold"], "bars and rule threshold go together."),
        (
            ["--rule", "route", "--prior", "[1, 2]"],
            "prior is for rule mean, vote, greedy, soup, and changes nothing in route.",
        ),
        (["--trust", "0.5"], "trust is for rule distill, and changes nothing in mean."),
        (["--rule", "route", "--over", "logits"], "greedy, champions, vote, distill, and changes nothing in route."),
        (["--soup", "uniform"], "soup is for rule soup, and changes nothing in mean."),
        (["--prior", "[1]"], "prior needs a number for each of 2 members. Got 1."),
        (["--prior", "[0, 0]"], "prior is zero or more for each member, and not zero for all."),
        (["--trust", "2"], "trust must be between 0 and 1. Got 2."),
        (["--trials", "0"], "trials must be 1 or more. Got 0."),
        (["--output_dir", "a"], "The member a lies in output_dir, which is written anew."),
        (["--members", "[]"], "members is empty."),
        (["--member", "a"], "Did you mean 'members'?"),
    ],
)
def test_a_fault_is_named(argv, fault):
    with pytest.raises(RecipeError) as caught:
        read(*argv)
    assert fault in str(caught.value)
