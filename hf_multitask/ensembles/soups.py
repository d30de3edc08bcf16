"""Averages of weights: an ensemble's gain at the price of one model."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch

from ..models.adapters import PASSING
from ..models.members import spelled
from ..models.modeling_multitask import MultitaskModel
from ..models.trunks import meaning

__all__ = ["misfits", "soup"]


def soup(models: Sequence[MultitaskModel], weights: Sequence[float] | None = None) -> MultitaskModel:
    """One model whose weights are the mean of those of models that began alike (Wortsman et al., 2022).

    `weights` are how much each model counts; without, all count the same. What is not a floating-point number is that
    of the first.
    """
    if faults := misfits(models):
        raise ValueError("These models make no soup:\n" + "\n".join(f"- {fault}" for fault in faults))
    counts = [1.0] * len(models) if weights is None else list(weights)
    if len(counts) != len(models) or min(counts) < 0 or not sum(counts):
        raise ValueError(f"A soup of {len(models)} models needs as many weights of zero or more. Got {counts}.")
    shares = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    states = [model.state_dict() for model in models]
    mixed = deepcopy(models[0])
    mixed.config.temperatures = {}
    for name, weight in mixed.state_dict().items():
        if weight.is_floating_point():
            # In double precision, in which the mean of equal weights is what they are.
            parts = (share * state[name].double() for share, state in zip(shares, states, strict=True))
            weight.copy_(torch.stack(list(parts)).sum(0))
    return mixed


def misfits(models: Sequence[Any]) -> list[str]:
    """Why the weights of some models cannot be averaged with those of the first."""
    faults = []
    for number, model in enumerate(models):
        if not isinstance(model, MultitaskModel):
            faults.append(f"Member {number} is an ensemble, which has no weights of its own.")
        elif isinstance(models[0], MultitaskModel):
            faults += [f"Member {number} has {fault}" for fault in differences(model, models[0])]
    return faults


def differences(model: MultitaskModel, first: MultitaskModel) -> list[str]:
    """What keeps the weights of two models from meaning the same, in words."""
    mine, wanted = equal_parts(model), equal_parts(first)
    if list(model.config.tasks) != list(first.config.tasks):
        return [f"other tasks: {', '.join(model.config.tasks)}, not {', '.join(first.config.tasks)}."]
    found = [
        f"another {name}: {mine.get(name)}, not {wanted[name]}." for name in wanted if mine.get(name) != wanted[name]
    ]
    if found:
        return found
    one, two = ({key: list(weight.shape) for key, weight in each.state_dict().items()} for each in (model, first))
    if odd := sorted(key for key in one.keys() | two.keys() if one.get(key) != two.get(key)):
        found.append(f"weights of another shape: {odd[0]} is {one.get(odd[0])}, not {two.get(odd[0])}.")
    if spelled(model.tokenizer) != spelled(first.tokenizer):
        found.append("another tokenizer.")
    return found


def tells(key: str) -> bool:
    """Whether a field of an adapter's configuration says what its weights mean."""
    return "dropout" not in key and not key.startswith("init_") and key not in PASSING


def equal_parts(model: MultitaskModel) -> dict[str, Any]:
    """Whatever must be equal where weights are to be averaged, by the words that a message uses."""
    config = model.config
    parts: dict[str, Any] = {}
    for name, task in config.tasks.items():
        head = {key: value for key, value in task["head"].items() if key != "dropout"}
        parts |= {f"head for {name}": head, f"objective for {name}": task["objective"]}
    parts |= {"pooling": config.pooling, "use of adapters": config.adapters, "max_length": config.max_length}
    for name, adapter in getattr(model.trunk, "peft_config", {}).items():
        parts[f"adapter for {name}"] = {key: value for key, value in adapter.to_dict().items() if tells(key)}
    trunk = meaning(config.trunk.to_dict())
    return parts | {f"{key} of the trunk": value for key, value in sorted(trunk.items())}
