import copy

import pytest
import torch
from training_runs import build

from hf_multitask.models.heads import Cosine
from hf_multitask.training.optimizers import SparingAdamW, groups, hasten, owner

PAL = {"class": "Pal", "width": 12, "heads": 3}


@pytest.fixture
def adapted(tmp_path):
    return build(tmp_path, schedule={"class": "RoundRobin"}, tuner=PAL).model


def test_every_parameter_that_learns_is_in_the_group_of_its_task(adapted):
    decays = {name for name, parameter in adapted.named_parameters() if parameter.dim() == 2}
    names = {parameter: name for name, parameter in adapted.named_parameters()}
    found = groups(adapted, decays, 0.3)
    grouped = [names[parameter] for group in found for parameter in group["params"]]
    assert sorted(grouped) == sorted(name for name, p in adapted.named_parameters() if p.requires_grad)
    for group in found:
        for name in (names[parameter] for parameter in group["params"]):
            assert group["task"] == (owner(adapted, name, adapted.tasks) or "")
            assert group["weight_decay"] == (0.3 if name in decays else 0.0)
    assert owner(adapted, "heads.sst.out.weight", adapted.tasks) == "sst"
    assert {owner(adapted, names[p], adapted.tasks) for p in names} == {None, "sst", "qqp", "sts"}


def test_without_idle_tasks_it_is_adamw_and_idle_ones_are_like_parameters_without_gradient(adapted):
    """Zeros under SparingAdamW and None under AdamW come to the same, momentum and bias correction included."""
    options = {"lr": 0.1, "fused": True}
    other = copy.deepcopy(adapted)
    sparing = SparingAdamW(groups(adapted, set(dict(adapted.named_parameters())), 0.5), **options)
    plain = torch.optim.AdamW([p for p in other.parameters() if p.requires_grad], weight_decay=0.5, **options)
    for idle in ((), ("qqp",), ("sst", "sts"), ()):
        sparing.idle = idle
        for (name, one), two in zip(adapted.named_parameters(), other.parameters(), strict=True):
            still = owner(adapted, name, adapted.tasks) in idle
            two.grad = None if still or not two.requires_grad else torch.randn_like(two)
            one.grad = torch.zeros_like(one) if still else two.grad
        sparing.step()
        plain.step()
        assert all(torch.equal(*pair) for pair in zip(adapted.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(("rate", "quicker"), [(0.0, 0.0), (1e-6, 1e-4), (4e-5, 4e-3), (1.5e-3, 4e-3), (2e-2, 2e-2)])
def test_scalars_of_cosine_heads_learn_faster_up_to_a_rate(tmp_path, rate, quicker):
    trainer = build(tmp_path, schedule={"class": "RoundRobin"}, heads={"sts": "Cosine"}, learning_rate=rate)
    head = trainer.model.heads["sts"]
    want = {parameter: rate for parameter in trainer.model.parameters() if parameter.requires_grad}
    want[head.scalars] = pytest.approx(quicker)
    grouped = trainer.create_optimizer().param_groups
    assert {parameter: group["lr"] for group in grouped for parameter in group["params"]} == want
    assert sum(len(group["params"]) for group in grouped) == len(want)


def test_an_optimizer_that_is_given_keeps_its_rates_and_no_group_is_left_empty(tmp_path):
    head = Cosine(4, 1)
    alone = torch.optim.AdamW(head.parameters(), lr=1e-5)
    hasten(alone, head)
    assert [(group["lr"], len(group["params"])) for group in alone.param_groups] == [(pytest.approx(1e-3), 1)]
    trainer = build(tmp_path, schedule={"class": "RoundRobin"}, heads={"sts": "Cosine"})
    trainer.optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=1e-5)
    assert {group["lr"] for group in trainer.create_optimizer().param_groups} == {1e-5}
