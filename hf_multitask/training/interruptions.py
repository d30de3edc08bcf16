"""A machine that is about to be taken away: a last checkpoint, and an end."""

import signal
import threading
from typing import Any

import torch
from accelerate import Accelerator
from transformers import Trainer, TrainerCallback

from .checkpoints import newest_whole

__all__ = ["Interrupted", "Interruptible", "StopOnSignal"]

EVERY = 10
"""How often processes ask each other whether one of them was told to stop: asking waits for the slowest."""


class Interrupted(RuntimeError):
    """Training was told to stop, and has saved a checkpoint."""


class StopOnSignal(TrainerCallback):
    """After SIGTERM, by which clusters announce that they take a machine away, saves a checkpoint and ends training.

    Several processes stop after the same step, whichever of them was told.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.told = self.stopped = False
        self.before: Any = None

    def hear(self, number: int, frame: Any) -> None:
        self.told = True

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.told = self.stopped = False
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGTERM, self.hear)

    def release(self) -> None:
        """Leave the signal to whom it was before."""
        if self.before is not None:
            signal.signal(signal.SIGTERM, self.before)
            self.before = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.accelerator.num_processes == 1:
            self.stopped = self.told
        elif state.global_step % EVERY == 0:
            told = torch.tensor([self.told], dtype=torch.float, device=self.accelerator.device)
            self.stopped = bool(self.accelerator.reduce(told, "sum").item())
        # Training that ends with this step needs no stopping.
        self.stopped = self.stopped and not control.should_training_stop
        if self.stopped:
            control.should_training_stop = True
            control.should_save = args.save_strategy != "no"
            # As at every checkpoint: what was lost since the last log could not be told by a run that goes on.
            control.should_log |= control.should_save

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.stopped and not round(state.epoch, 6).is_integer():
            # Trainer takes the step that it stopped after for the end of an epoch.
            control.should_save = control.should_evaluate = control.should_log = False


class Interruptible(Trainer):
    """A Trainer, to be mixed into another, that saves a checkpoint and raises `Interrupted` when it is told to stop."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.stopper = StopOnSignal(self.accelerator)
        self.add_callback(self.stopper)

    def train(self, *args: Any, **options: Any) -> Any:
        try:
            return super().train(*args, **options)
        finally:
            self.stopper.release()

    def _finalize_training(self, *args: Any, **options: Any) -> Any:
        if self.stopper.stopped:
            # Before the best model is loaded, and checkpoints beside it are deleted.
            found = newest_whole(str(self.args.output_dir))
            later = f"`--resume auto` goes on from {found}." if found else "There is no checkpoint to go on from."
            raise Interrupted(f"Told to stop, after step {self.state.global_step}. {later}")
        return super()._finalize_training(*args, **options)
