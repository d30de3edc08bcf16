from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from hf_multitask import QQP, SST, STS, Task
from hf_multitask.ensembles.ballots import Ballot
from hf_multitask.ensembles.selection import (
    best_per_task,
    best_single,
    champions,
    crossfit,
    greedy,
    keep,
    threshold,
    tuned,
)
from hf_multitask.models.combiners import Mean, Route

TASKS = {task.name: task for task in (SST, QQP, STS)}
RULES = {
    "threshold": partial(threshold, bar=0.5),
    "greedy": greedy,
    "prior": partial(greedy, prior=[1, 2, 3, 4]),
    "tuned": partial(tuned, trials=30),
    "best": best_per_task,
}
rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
tasks = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def ballot(task: Task, *, noise=(0.5, 1.0, 2.0, 4.0), rows=120, seed=0) -> Ballot:
    """Members that know the labels, each through noise of its own."""
    draw = torch.Generator().manual_seed(seed)
    objective = task.objective
    classes = len(objective.labels or ())
    labels = torch.randint(classes, (rows,), generator=draw) if classes else 5 * torch.rand(rows, generator=draw)
    truth = torch.eye(classes)[labels] if classes > 2 else (2.0 * labels - 1 if classes else labels)[:, None]
    spread = torch.tensor(noise)[:, None, None]
    scores = truth + spread * torch.randn(len(noise), rows, objective.outputs, generator=draw)
    return Ballot(task.describe(), scores.double(), labels.numpy(), (True,) * len(noise))


@rules
@tasks
def test_a_rule_gives_a_combiner_of_all_members_and_the_same_one_again(rule, task):
    given = ballot(task)
    combiner = rule(given)
    assert len(combiner.weigh(given.knowing)) == 4
    assert rule(given) == combiner
    assert given.join(combiner).shape == (120, task.objective.outputs)


@rules
@tasks
def test_members_that_do_not_know_the_task_get_no_weight(rule, task):
    given = replace(ballot(task), knowing=(False, True, True, False))
    assert not rule(given).weigh(given.knowing)[[0, 3]].any()


@tasks
@pytest.mark.parametrize("noise", [(0.5, 1.0, 2.0, 4.0), (1.5, 1.5, 1.5, 1.5)])
@pytest.mark.parametrize("seed", range(2))
def test_tuned_weights_are_never_worse_than_the_plain_mean_where_they_were_tuned(task, noise, seed):
    given = ballot(task, noise=noise, seed=seed)
    assert given.measure(tuned(given, trials=1)) == given.measure(Mean())
    assert set(tuned(given, trials=1).weights) == {0.25}
    found = tuned(given, trials=30, seed=seed)
    assert given.measure(found) >= given.measure(Mean())
    assert sum(found.weights) == pytest.approx(1)


@tasks
def test_greedy_is_never_worse_than_the_best_member(task):
    for seed in range(3):
        given = ballot(task, seed=seed)
        assert given.measure(greedy(given)) >= given.measure(best_per_task(given))
        assert given.measure(best_per_task(given)) == max(given.measure(Route(i)) for i in range(4))


def test_greedy_keeps_priors_of_those_that_it_keeps():
    given = ballot(STS)
    plain, weighted = greedy(given).weights, greedy(given, prior=[1, 2, 3, 4]).weights
    assert set(plain) <= {0, 1}
    assert all(weight in (0, i + 1) for i, weight in enumerate(weighted))


def test_numbers_are_kept_when_nothing_gets_worse():
    worth = {(2,): 5, (2, 0): 5, (2, 0, 1): 4, (2, 0, 3): 6}
    assert keep({0: 3, 1: 2, 2: 9, 3: 1}, lambda numbers: worth[tuple(numbers)]) == [2, 0, 3]


def test_members_below_the_bar_are_left_out():
    given = ballot(SST)
    values = [given.measure(Route(i)) for i in range(4)]
    combiner = threshold(given, bar=sorted(values)[2])
    assert combiner.weights == [1, 1, 0, 0]
    assert threshold(given, bar=2) == Route(0)


def test_the_best_single_member_is_best_over_all_counted_tasks():
    ballots = {"sst": ballot(SST, noise=(1.0, 2.0)), "sts": ballot(STS, noise=(9.0, 0.1))}
    assert best_single(ballots, ["sst"]) == 0
    assert best_single(ballots, ["sst", "sts"]) == 1


def test_champions_are_the_best_of_each_task_and_answer_what_they_know():
    ballots = {"sst": ballot(SST, noise=(1.0, 2.0, 2.0)), "sts": ballot(STS, noise=(9.0, 2.0, 0.1))}
    assert {name: one.weights for name, one in champions(ballots).items()} == {"sst": [1, 0, 1], "sts": [1, 0, 1]}
    ballots["sts"] = replace(ballots["sts"], knowing=(False, True, True))
    assert champions(ballots)["sts"].weights == [0, 0, 1]


@rules
def test_cross_fitting_never_looks_at_the_half_that_it_reports(rule):
    """Whatever labels the reported half has, its scores stay the same."""
    given = {"sst": ballot(SST)}
    seen = []

    def fit(ballots, rows):
        seen.append(set(rows["sst"].tolist()))
        return {name: b.join(rule(b.rows(rows[name]))) for name, b in ballots.items()}

    scores = crossfit(partial(fit, given), given)["sst"]
    assert seen[0] | seen[1] == set(range(120))
    assert not seen[0] & seen[1]
    for half in seen[:2]:
        held = np.array(sorted(half))
        labels = given["sst"].labels.copy()
        labels[held] = (labels[held] + 1) % 5
        changed = {"sst": replace(given["sst"], labels=labels)}
        assert torch.equal(crossfit(partial(fit, changed), changed)["sst"][held], scores[held])


def test_nothing_chosen_is_the_same_in_sample_and_cross_fitted():
    given = ballot(STS)
    joined = given.join(Mean())
    assert torch.equal(crossfit(lambda rows: {"sts": joined}, {"sts": given})["sts"], joined)


def test_members_with_scales_of_their_own_keep_their_correlation_when_each_has_a_half():
    one, other = (given := ballot(STS, noise=(0.5, 0.5))).scores
    choices = iter([one, 1 + other / 9])
    value = given.judge(given.values(crossfit(lambda rows: {"sts": next(choices)}, {"sts": given})["sts"]))
    assert value == pytest.approx(np.mean([given.measure(Route(0)), given.measure(Route(1))]), abs=0.02)


def test_cross_fitting_does_not_favour_rules_that_choose_nothing():
    """Of members that are the same but for hardly anything, neither their mean nor the best of them is better."""
    gained = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        labels = draw.uniform(0, 5, 50)
        said = 0.3 * labels + draw.normal(size=50)
        scores = torch.from_numpy(np.stack([said + 0.02 * draw.normal(size=50) for _ in range(2)])[..., None])
        given = {"sts": Ballot(STS.describe(), scores, labels, (True, True))}

        def single(seen, given=given):
            chosen = best_single({"sts": given["sts"].rows(seen["sts"])}, ["sts"])
            return {"sts": given["sts"].join(Route(chosen))}

        best, mean = crossfit(single, given)["sts"], given["sts"].join(Mean())
        gained.append(given["sts"].judge(given["sts"].values(mean)) - given["sts"].judge(given["sts"].values(best)))
    assert abs(np.mean(gained)) < 0.005


@tasks
def test_greedy_tries_no_member_that_counts_for_nothing(task):
    given = ballot(task)
    weights = greedy(given, prior=[0, 1, 1, 1]).weigh(given.knowing)
    assert weights[0] == 0
    assert weights.sum() > 0
