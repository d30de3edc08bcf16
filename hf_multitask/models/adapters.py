"""The adapters in a trunk, one a task: which weights are theirs, and how they are saved and loaded."""

import json
import warnings
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from .construct import unknown
from .libraries import library

__all__ = [
    "FOLDER",
    "PASSING",
    "add_adapter",
    "base_key",
    "check_adapter",
    "check_names",
    "is_adapter",
    "load_adapter",
    "norms",
    "save_adapter",
]

FOLDER = "adapters"
"""Where a model's folder keeps them, each in a folder named after its task."""

OUTER = "base_model.model."
"""What a file of PEFT's puts before each name."""

WRAPPERS = {"base_layer", "original_module"}

PASSING = {"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type"}
"""Fields of an adapter's configuration that say where it was and how it is used, and nothing about its weights."""


def is_adapter(key: str, tasks: Iterable[str]) -> bool:
    """Whether a weight belongs to a task's adapter: PEFT puts the adapter's name into the path of each."""
    return not set(key.split(".")).isdisjoint(tasks)


def base_key(key: str) -> str:
    """A weight's name before anything was wrapped around it."""
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def check_names(trunk: PreTrainedModel, tasks: Iterable[str]) -> None:
    """Raise where an adapter could not be told from the trunk by its name."""
    parts = {part for key in trunk.state_dict() for part in key.split(".")}
    if taken := sorted(parts.intersection(tasks)):
        raise ValueError(
            f"The trunk has parts of its own named {', '.join(taken)}. A task with an adapter needs another name."
        )


def norms(trunk: nn.Module) -> set[Tensor]:
    """The weights of all normalisations."""
    kinds = (nn.LayerNorm, nn.RMSNorm)
    return {weight for module in trunk.modules() if isinstance(module, kinds) for weight in module.parameters()}


def save_adapter(trunk: PreTrainedModel, name: str, folder: Path, state: Mapping[str, Tensor]) -> None:
    """Write one adapter as PEFT does, from the trunk's state."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = trunk.get_adapter_state_dict(name, dict(state))
    named = {OUTER + key: weight.contiguous() for key, weight in weights.items()}
    save_file(named, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    trunk.peft_config[name].save_pretrained(folder)


REWRITING = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways to begin a LoRA that take what it begins with out of the weights beside it."""


def check_adapter(config: Any) -> None:
    """Raise where an adapter would change or keep more of a trunk than itself."""
    begin = getattr(config, "init_lora_weights", True)
    if isinstance(begin, str) and begin.startswith(REWRITING):
        raise ValueError(
            f"init_lora_weights: {begin} rewrites the trunk's own weights, which several tasks share. "
            "Take true or gaussian."
        )
    if getattr(config, "modules_to_save", None):
        raise ValueError("modules_to_save cannot be chosen by task: PEFT has one of them at a time. Leave it out.")


def add_adapter(trunk: PreTrainedModel, name: str, config: Any) -> None:
    """Put an untrained adapter into the trunk."""
    check_adapter(config)
    with warnings.catch_warnings():
        # PEFT asks whether a second adapter is meant. It is.
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        trunk.add_adapter(deepcopy(config), name)


def load_adapter(trunk: PreTrainedModel, name: str, folder: Path) -> None:
    """Read one adapter from a model's folder."""
    place = folder / FOLDER / name
    # Not by the trunk's own `load_adapter`: in transformers 5.23 it draws the weights of every adapter anew that was
    # loaded before.
    if name not in (getattr(trunk, "peft_config", None) or {}):
        check_kind(place)
        add_adapter(trunk, name, library("peft", "PeftConfig").from_pretrained(str(place)))
    fill_adapter(trunk, name, library("peft", "load_peft_weights")(str(place), device="cpu"))


def check_kind(place: Path) -> None:
    """Raise unless PEFT knows the kind of an adapter."""
    file = place / "adapter_config.json"
    if not file.is_file():
        raise ValueError(f"The adapter {place} has no adapter_config.json. Save the model again.")
    kind = json.loads(file.read_text(encoding="utf-8")).get("peft_type")
    if kind not in (known := library("peft", "PEFT_TYPE_TO_CONFIG_MAPPING")):
        raise ValueError(f"The adapter {place}: {unknown('kind', kind, [str(each.value) for each in known])}")


def fill_adapter(trunk: PreTrainedModel, name: str, weights: Mapping[str, Tensor]) -> None:
    """Give an adapter that is there the weights of a file."""
    wanted = trunk.get_adapter_state_dict(name)
    given = {key.removeprefix(OUTER): weight for key, weight in weights.items()}
    if wrong := sorted(wanted.keys() ^ given.keys()):
        raise ValueError(
            f"The file of the adapter '{name}' does not fit: it {'lacks' if wrong[0] in wanted else 'has'} {wrong[0]}"
            f"{f' and {len(wrong) - 1} more differ' if len(wrong) > 1 else ''}. Was it saved under other settings?"
        )
    library("peft", "set_peft_model_state_dict")(trunk, given, adapter_name=name)
