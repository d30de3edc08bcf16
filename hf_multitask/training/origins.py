"""What left a checkpoint, and whether this run can go on from it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from accelerate import Accelerator
from peft import PeftConfig

from ..models.adapters import PASSING
from ..models.configuration_multitask import MultitaskConfig
from ..models.members import spelled
from ..models.modeling_multitask import MultitaskModel
from ..models.trunks import meaning
from ..schedules import Schedule
from .backends import backend_of

__all__ = ["Origin", "said"]

FILE = "origin.json"


@dataclass(frozen=True)
class Origin:
    """The circumstances of a run that a checkpoint depends on.

    `backend` says how the weights lie on the processes; `rows` counts each task's training rows, and `step` the rows of
    each task in a step; `seed` decides their order, and `tokenizer` is a digest.
    """

    backend: str
    processes: int
    schedule: dict[str, Any]
    rows: dict[str, int]
    step: int
    adapters: dict[str, Any]
    # Checkpoints of earlier versions do not tell.
    tokenizer: str | None = None
    seed: int | None = None

    @classmethod
    def of(
        cls,
        model: MultitaskModel,
        schedule: Schedule,
        *,
        rows: dict[str, int],
        step: int,
        seed: int,
        accelerator: Accelerator,
    ) -> "Origin":
        """The circumstances here."""
        backend, processes = backend_of(accelerator), accelerator.num_processes
        adapters = {}
        if model.config.adapters:
            config = model.trunk.peft_config[next(iter(model.tasks))]
            adapters = {
                key: value for key, value in plain(cast(PeftConfig, config).to_dict()).items() if key not in PASSING
            }
        tokenizer = None if model.tokenizer is None else spelled(model.tokenizer)
        return cls(backend, processes, plain(schedule), rows, step, adapters, tokenizer, seed)

    def save(self, checkpoint: Path) -> None:
        (checkpoint / FILE).write_text(json.dumps(asdict(self), indent=1))

    def check(self, checkpoint: Path, config: MultitaskConfig) -> list[str]:
        """What is different from the run that left a checkpoint, and can be; raise where it cannot."""
        if not (checkpoint / FILE).is_file():
            return []
        before = Origin(**json.loads((checkpoint / FILE).read_text()))
        if faults := [*self.obstacles(before), *unlike(json.loads((checkpoint / "config.json").read_text()), config)]:
            raise ValueError(f"This run cannot go on from {checkpoint}. {' '.join(faults)}")
        return self.changes(before)

    def obstacles(self, before: "Origin") -> list[str]:
        divided = {self.backend, before.backend} - {"whole"}
        if divided and (self.backend, self.processes) != (before.backend, before.processes):
            return [
                f"It lies as {before.processes} processes left it under {before.backend}, and here are "
                f"{self.processes} under {self.backend}. Launch as before, or begin a new run with the checkpoint as "
                "model.trunk."
            ]
        if None not in (before.tokenizer, self.tokenizer) and before.tokenizer != self.tokenizer:
            return [
                "Its tokenizer is another: that of a new trunk is made of the training rows, and these have changed."
            ]
        if bool(before.adapters) != bool(self.adapters):
            there, here = ("adapters", "none") if before.adapters else ("no adapters", "some")
            return [f"The model that left it had {there}, and this one has {here}."]
        keys = sorted(before.adapters.keys() | self.adapters.keys())
        pairs = {key: (before.adapters.get(key), self.adapters.get(key)) for key in keys}
        return [
            f"{key} of its adapters is {said(old)}, and {said(new)} here."
            for key, (old, new) in pairs.items()
            if old != new
        ]

    def changes(self, before: "Origin") -> list[str]:
        found = []
        for name in ("schedule", "step", "rows", "seed"):
            old, new = getattr(before, name), getattr(self, name)
            if old != new and old is not None:
                found.append(f"{WORDS[name]} {said(old)}, and {said(new)} now.")
        if found:
            found.append("Training goes on from the same weights, and reads other rows than that run would have.")
        return found


def plain(value: Any) -> Any:
    """What JSON makes of a value, objects by their class and what they hold."""

    def shown(thing: Any) -> Any:
        if isinstance(thing, set):
            return sorted(thing)
        if not hasattr(thing, "__dict__"):
            return repr(thing)
        return {"class": type(thing).__name__, **{key: part for key, part in vars(thing).items() if part is not None}}

    return json.loads(json.dumps(value, default=shown))


WORDS = {
    "schedule": "The schedule was",
    "step": "The rows of a task in a step were",
    "rows": "The training rows were",
    "seed": "The seed of their order was",
}


def unlike(before: dict[str, Any], config: MultitaskConfig) -> list[str]:
    """How the model of a checkpoint differs in its weights from one of `config`."""
    # Through JSON, as the other came.
    now = json.loads(config.to_json_string(use_diff=False))
    found = []
    old, new = set(before["tasks"]), set(now["tasks"])
    if old != new:
        found.append(f"Its tasks are {', '.join(sorted(old))}, and here they are {', '.join(sorted(new))}.")
    for name in sorted(old & new):
        for part in ("head", "objective", "pair"):
            then, here = before["tasks"][name][part], now["tasks"][name][part]
            if then != here:
                found.append(f"The {part} of {name} is {said(then)} there, and {said(here)} here.")
    for key in ("pooling", "freeze_trunk", "train_norms"):
        if before[key] != now[key]:
            found.append(f"{key} is {said(before[key])} there, and {said(now[key])} here.")
    there, wanted = meaning(before["trunk"]), meaning(now["trunk"])
    for key in sorted(there.keys() & wanted.keys()):
        then, here = there[key], wanted[key]
        if then != here:
            found.append(f"{key} of its trunk is {said(then)}, and {said(here)} here.")
    return found


def said(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
