"""Configuration of `MultitaskModel`: a trunk's own configuration, and what each task reads and answers."""

from dataclasses import field
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_minbert import MinBertConfig
from .construct import unknown
from .heads import HEADS, Cosine, build_head
from .objectives import CosineEmbedding, Objective, build_objective, temperature_faults

__all__ = ["MultitaskConfig", "name_fault"]

POOLINGS = ("cls", "mean", "pooler")


class MultitaskConfig(PreTrainedConfig):
    """A trunk, how its output is pooled, and the tasks on top.

    `tasks` maps a name to `{"objective": .., "head": .., "pair": .., "metric": .., "scored": ..}`, as
    `Task.describe()` gives it. `dropout` is that of every head which names none of its own. `freeze_trunk` trains heads
    and adapters alone, with `train_norms` the trunk's LayerNorms too. `adapters`: every task has one in the trunk,
    saved in a folder of its own. `temperatures` divide the scores of a task that has classes when it answers.
    """

    model_type = "multitask"
    sub_configs_defaults = {"trunk": SubConfigSpec(MinBertConfig)}

    trunk: Any = None
    tasks: dict[str, Any] = field(default_factory=dict)
    pooling: str = "mean"
    dropout: float | int = 0.1
    freeze_trunk: bool = False
    train_norms: bool = False
    adapters: bool = False
    max_length: int = 128
    temperatures: dict[str, float] = field(default_factory=dict)
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        # Resolved here and not by AutoConfig, which knows minbert only where this package is imported.
        if isinstance(self.trunk, dict):
            found = self.trunk.get("model_type", "minbert")
            if found not in ("bert", "minbert") and found not in CONFIG_MAPPING:
                raise ValueError(unknown("trunk type", found, ["minbert", *CONFIG_MAPPING]))
            options = {**self.trunk, "model_type": "minbert"} if found in ("bert", "minbert") else self.trunk
            self.trunk = (MinBertConfig if found in ("bert", "minbert") else CONFIG_MAPPING[found])(**options)
        # Left out, the parent's own None would overwrite what a loaded trunk has chosen.
        kwargs.setdefault("attn_implementation", getattr(self.trunk, "_attn_implementation", None))
        super().__post_init__(**kwargs)
        self.pad_token_id = self.trunk.pad_token_id
        if faults := self.faults():
            raise ValueError("This model cannot be built:\n" + "\n".join(f"- {fault}" for fault in faults))

    def faults(self) -> list[str]:
        found = [] if self.pooling in POOLINGS else [unknown("pooling", self.pooling, POOLINGS)]
        for name, task in self.tasks.items():
            if fault := name_fault(name):
                found.append(fault)
            try:
                check_task(task)
            except ValueError as error:
                found.append(f"Task '{name}': {error}")
        return found or temperature_faults(self.temperatures, self.tasks)

    def objective(self, name: str) -> Objective:
        return build_objective(self.known(name)["objective"])

    def texts(self, name: str) -> int:
        """How many sequences the head of a task reads: two for a pair whose texts are encoded apart."""
        return HEADS[self.known(name)["head"]["class"]].texts

    def known(self, name: str) -> dict[str, Any]:
        """The description of a task, or an error that names the nearest one."""
        if name not in self.tasks:
            raise ValueError(unknown("task", name, self.tasks))
        return self.tasks[name]


def name_fault(name: str) -> str | None:
    """Why a task cannot have this name, or None: its head and its folder have it too."""
    if not name.isidentifier():
        return f"A task's name is made of letters, digits and underscores. Got {name!r}."
    if hasattr(nn.ModuleDict, name) or name == "training":
        return f"A task cannot be called {name!r}, which means something to PyTorch. Take another name."
    if name == "score":
        return "A task cannot be called 'score', as the mean of all tasks is. Take another name."
    return None


def check_task(task: dict[str, Any]) -> None:
    """Raise what keeps a task's objective and head from working together."""
    objective = build_objective(task["objective"])
    with torch.device("meta"):  # to build nothing and draw no random number
        head = build_head(task["head"], width=1, outputs=objective.outputs, dropout=0.0)
    if head.texts == 2 and not task["pair"]:
        raise ValueError(f"the head {task['head']['class']} compares two texts, and this task has one.")
    bare_cosine = isinstance(head, Cosine) and head.scalars is None
    if isinstance(objective, CosineEmbedding) and not bare_cosine:
        raise ValueError("CosineEmbedding needs the head {class: Cosine, learned: false}.")
