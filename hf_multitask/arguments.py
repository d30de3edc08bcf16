"""Settings of `MultitaskTrainer`."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from transformers import TrainingArguments

__all__ = ["MultitaskTrainingArguments", "OneDevice", "settled"]

logger = logging.getLogger(__name__)

LOSSES = ("sum", "mean")
IGNORED = {
    "label_smoothing_factor": "each task's objective has a loss of its own",
    "dataloader_drop_last": "the sampler deals out every row",
    "dataloader_persistent_workers": "they would begin anew where a run goes on, which would draw another dropout",
    "train_sampling_strategy": "the schedule plans the steps, and rows of near lengths share one anyway",
    "bf16_full_eval": "a task is judged in the training's own precision",
    "fp16_full_eval": "a task is judged in the training's own precision",
    "neftune_noise_alpha": "its noise wants padded rows; a regularizer such as Smart moves the words of unpadded ones",
}
"""What Trainer would do in places of its own that are others here."""


LEAST = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "num_train_epochs": 0,
    "learning_rate": 0,
    "weight_decay": 0,
    "seed": 0,
}
"""What would else end in the middle of a run, or train nothing."""


def no_accelerator() -> bool:
    return not torch.accelerator.is_available()


def settled(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a trainer, in which `bf16: auto` is true where the device computes in bfloat16 itself.

    The metric that chooses is the usual one where it is null: without any, Trainer would look for a loss.

    >>> settled({"bf16": False, "max_steps": 3, "metric_for_best_model": None})
    {'bf16': False, 'max_steps': 3}
    """
    said = {name: value for name, value in options.items() if name != "metric_for_best_model" or value is not None}
    return {**said, "bf16": computes_bf16()} if said.get("bf16") == "auto" else said


@cache
def computes_bf16() -> bool:
    if torch.accelerator.is_available():
        found = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Others do it by way of float32, which takes longer than to compute in that.
        found = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    logger.warning("bf16 is auto: this machine %s in bfloat16.", "computes" if found else "does not compute")
    return found


class OneDevice(TrainingArguments):
    """Arguments, to be mixed into others, by which a process trains on one GPU, however many it sees.

    Trainer would copy the model to all of them and cut batches in pieces. Numbers that are too low are named.
    """

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be {least} or more. Got {got:g}."
            for name, least in LEAST.items()
            if (got := getattr(self, name)) < least
        ]
        if self.max_steps != -1 and self.max_steps < 1:
            faults.append(f"max_steps must be 1 or more, or -1 for all epochs. Got {self.max_steps}.")
        if faults:
            raise ValueError(" ".join(faults))
        super().__post_init__()

    @property
    def n_gpu(self) -> int:
        return min(super().n_gpu, 1)


@dataclass
class MultitaskTrainingArguments(OneDevice):
    """`TrainingArguments` with the defaults that multitask fine-tuning wants, and how losses are joined.

    `per_device_train_batch_size` counts rows of each task in a step: with every task in each step, 32 means 32 of
    sst, 32 of qqp and 32 of sts. Processes and accumulation multiply it, and nothing else: 2 processes of 16 train
    like one of 32.
    """

    loss: str = field(default="sum", metadata={"help": "How the losses of a step's tasks are joined: 'sum' or 'mean'."})
    early_stopping: int | None = field(
        default=None, metadata={"help": "Stop after so many evaluations without a better score."}
    )
    halve_on_rising_loss: int | None = field(
        default=None, metadata={"help": "Halve the learning rate when the loss has risen so many epochs in a row."}
    )

    output_dir: str = field(default="outputs", metadata={"help": "Where checkpoints are written."})
    learning_rate: float = field(default=5e-5, metadata={"help": "The peak learning rate."})
    per_device_train_batch_size: int = field(
        default=32, metadata={"help": "Rows of each task in a step, on each device."}
    )
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Rows of a batch in evaluation."})
    warmup_steps: float = field(default=0.1, metadata={"help": "Steps of warm-up; below 1, a share of all steps."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay of AdamW."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save: no, steps, epoch or best."})
    save_total_limit: int | None = field(default=2, metadata={"help": "How many checkpoints to keep."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the best model, not the last."})
    metric_for_best_model: str | None = field(default="score", metadata={"help": "What the best model is best at."})
    logging_steps: float = field(default=50, metadata={"help": "Log every so many steps."})
    # A loss that is not a number ends the run instead of being averaged away.
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Hide losses that are not numbers."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Batches are made by the package."})
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "A resumed run remembers its early stopping."}
    )
    # Without it, processes on a machine without accelerator believe that each is alone.
    use_cpu: bool = field(default_factory=no_accelerator, metadata={"help": "Train on the processor."})
    dataloader_pin_memory: bool = field(
        default_factory=torch.accelerator.is_available, metadata={"help": "Pin batches for a faster copy."}
    )

    @property
    def step_rows(self) -> int:
        """Rows of each task in a step: of all processes and micro-steps together."""
        return self.train_batch_size * self.world_size * self.gradient_accumulation_steps

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}. Got {self.loss!r}.")
        if self.push_to_hub:
            raise ValueError(
                "Nothing is pushed while training goes on. Leave push_to_hub out; then `trainer.push_to_hub()` or "
                "recipes/publish.py publishes the model with its code and card."
            )
        usual = type(self).__dataclass_fields__
        for name, why in IGNORED.items():
            if getattr(self, name) != usual[name].default:
                raise ValueError(f"{name} would not do here what it says: {why}. Leave it out.")
        if self.early_stopping is not None and self.eval_strategy == "no":
            raise ValueError("early_stopping counts evaluations, and eval_strategy is no. Leave one of them out.")
        super().__post_init__()
