import copy

import pytest
import torch
from training_runs import build

from hf_multitask.training.optimizers import SparingAdamW, groups, owner

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
