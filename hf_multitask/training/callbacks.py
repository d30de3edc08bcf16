"""What a run does at certain moments, beyond what Trainer does by itself."""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise, takewhile
from typing import Any

from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback

__all__ = ["EpochCallback", "HalveOnRisingLoss", "Pace"]

logger = logging.getLogger(__name__)


class HalveOnRisingLoss(TrainerCallback):
    """Halve the learning rate when the epoch's total training loss has risen `patience` epochs in a row.

    Then counting begins anew. What the learning rate's own schedule does, such as a linear decay, goes on from there at
    half the height. Earlier epochs are known from the log, which therefore gets an entry at the end of each epoch and
    at each checkpoint: a run that is resumed halves where it would have halved.
    """

    def __init__(self, patience: int = 3):
        if patience < 1:
            raise ValueError(f"patience of HalveOnRisingLoss must be 1 epoch or more. Got {patience}.")
        self.patience = patience

    def on_train_begin(self, args: Any, state: Any, control: Any, lr_scheduler: Any = None, **kwargs: Any) -> None:
        if not isinstance(lr_scheduler, LambdaLR):
            raise ValueError(
                "HalveOnRisingLoss halves what a schedule such as linear or constant gives, and "
                f"{type(lr_scheduler).__name__} is none. Choose another lr_scheduler_type, or leave it out."
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_log |= control.should_save or control.should_evaluate

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_log = True

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Any = None, lr_scheduler: Any = None, **kwargs: Any
    ) -> None:
        if "loss" in logs and float(state.epoch).is_integer():
            rises = rises_at_the_end(totals(state.log_history))
            if rises and rises % self.patience == 0:
                halve(lr_scheduler)
                if state.is_world_process_zero:
                    logger.warning("The training loss has risen %d epochs in a row: halved the learning rate.", rises)


def totals(history: Sequence[Mapping[str, float]]) -> list[float]:
    """The sum of the losses of all steps, for each epoch."""
    found: dict[int, float] = defaultdict(float)
    last = 0.0
    for entry in history:
        if "loss" in entry:
            found[math.ceil(entry["epoch"])] += entry["loss"] * (entry["step"] - last)
            last = entry["step"]
    return list(found.values())


def rises_at_the_end(numbers: Sequence[float]) -> int:
    """How many times in a row the last of them have grown.

    >>> rises_at_the_end([5.0, 3.0, 4.0, 6.0])
    2
    """
    steps = [after > before for before, after in pairwise(numbers)]
    return len(list(takewhile(bool, reversed(steps))))


def halve(schedule: LambdaLR) -> None:
    """From the next step on; the schedule's own state keeps it."""
    schedule.base_lrs = [rate / 2 for rate in schedule.base_lrs]
    for group in schedule.optimizer.param_groups:
        group["lr"] /= 2
    schedule._last_lr = [group["lr"] for group in schedule.optimizer.param_groups]


class EpochCallback(TrainerCallback):
    """Tells the sampler which epoch begins: accelerate's wrappers do not pass it on after a resume.

    It is counted in the steps of this run, as Trainer counts: a checkpoint says it in those of the run that left it.
    """

    def __init__(self, set_epoch: Callable[[int], None]):
        self.set_epoch = set_epoch

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        done, whole, epochs = state.global_step, state.max_steps, args.num_train_epochs
        left = whole * (1 - (state.epoch or 0) / epochs) if args.max_steps <= 0 and epochs else 0
        if done and done >= whole and left >= 1:
            raise ValueError(
                f"The checkpoint has done {done} steps, {state.epoch:g} of {epochs:g} epochs, which in steps of as "
                f"many rows as now are {whole} in all: none is left. Keep the rows of a step, raise num_train_epochs, "
                "or begin a new run with the checkpoint as model.trunk."
            )

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        steps = -(-len(train_dataloader) // args.gradient_accumulation_steps)
        self.set_epoch(state.global_step // max(steps, 1))


class Pace(TrainerCallback):
    """Counts the steps that this process does, and the seconds inside them: evaluations and checkpoints are none."""

    def __init__(self) -> None:
        self.steps, self.seconds, self.begun = 0, 0.0, 0.0

    @property
    def steps_per_second(self) -> float | None:
        """None where no step was left to do."""
        return self.steps / self.seconds if self.seconds else None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.begun = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.steps += 1
        self.seconds += time.perf_counter() - self.begun
