"""sentence-transformers' trainer, made to stop and go on exactly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.evaluation import BaseEvaluator, SequentialEvaluator
from torch import nn
from torch.utils.data import BatchSampler
from transformers import TrainerCallback
from transformers.utils import SAFE_WEIGHTS_NAME

from ..arguments import OneDevice, no_accelerator
from ..training.backends import backend_of, check_launch
from ..training.callbacks import EpochCallback
from ..training.checkpoints import WholeCheckpoints
from ..training.interruptions import Interruptible
from ..training.memory import Keeping
from .stages import Stage

__all__ = ["PretrainingArguments", "PretrainingTrainer"]


@dataclass
class PretrainingArguments(OneDevice, SentenceTransformerTrainingArguments):
    """`SentenceTransformerTrainingArguments` with the defaults that a first stage wants.

    `per_device_train_batch_size` counts sentences (SimCSE, ClassRanking) or pairs (Ranking). The rows of a batch are
    each other's negatives, over all processes; accumulation adds no negatives.
    """

    output_dir: str = field(default="outputs", metadata={"help": "Where checkpoints are written."})
    learning_rate: float = field(default=3e-5, metadata={"help": "The peak learning rate."})
    num_train_epochs: float = field(default=1, metadata={"help": "How often the text is read."})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Sentences of a batch, on each device."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Sentences of a batch in evaluation."})
    warmup_steps: float = field(default=0.1, metadata={"help": "Steps of warm-up; below 1, a share of all steps."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay of AdamW."})
    eval_strategy: str = field(default="steps", metadata={"help": "When to evaluate: no, steps or epoch."})
    eval_steps: float | None = field(default=0.25, metadata={"help": "Steps between; below 1, a share of all."})
    save_strategy: str = field(default="steps", metadata={"help": "When to save: no, steps, epoch or best."})
    save_steps: float = field(default=0.25, metadata={"help": "Steps between; below 1, a share of all."})
    save_total_limit: int | None = field(default=2, metadata={"help": "How many checkpoints to keep."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the best model, not the last."})
    logging_steps: float = field(default=50, metadata={"help": "Log every so many steps."})
    # A loss that is not a number ends the run instead of being averaged away.
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Hide losses that are not numbers."})
    # Without it, processes on a machine without accelerator believe that each is alone.
    use_cpu: bool = field(default_factory=no_accelerator, metadata={"help": "Train on the processor."})
    dataloader_pin_memory: bool = field(
        default_factory=torch.accelerator.is_available, metadata={"help": "Pin batches for a faster copy."}
    )


class PretrainingTrainer(Keeping, Interruptible, WholeCheckpoints, SentenceTransformerTrainer):
    """Train an encoder by a first stage; the encoder itself, without what only training sees, is changed in place.

    Whatever is wrong with the rows or the size of a batch is raised here and not in the middle.
    """

    def __init__(
        self,
        encoder: SentenceTransformer,
        args: PretrainingArguments,
        *,
        stage: Stage,
        rows: Dataset,
        evaluators: Sequence[BaseEvaluator] = (),
        callbacks: Sequence[TrainerCallback] = (),
    ):
        seed = args.seed if args.data_seed is None else args.data_seed
        self.sampler = stage.sampler(rows, args.train_batch_size, seed=seed)
        if len(self.sampler) < args.world_size:
            raise ValueError(
                f"Each process needs a batch of its own. Got {len(self.sampler)} batches for {args.world_size} "
                "processes. Give more text, or lower training.per_device_train_batch_size."
            )
        # A model of its own around the same modules: training wraps it, and leaves the encoder's own calls alone.
        model = SentenceTransformer(modules=[*encoder, *stage.prepare(encoder)], device=str(args.device))
        super().__init__(
            model,
            args,
            train_dataset=rows,
            loss=stage.loss(model, rows, gather=args.world_size > 1),
            evaluator=SequentialEvaluator(evaluators, main_score_function=lambda scores: scores[0])
            if evaluators
            else None,
            callbacks=[*callbacks, EpochCallback(self.sampler.set_epoch)],
        )
        check_launch(self.accelerator)
        if (backend := backend_of(self.accelerator)) in ("ZeRO-3", "FSDP"):
            raise ValueError(
                f"A first stage is judged by the whole encoder, and under {backend} each process holds a part. Launch "
                "with recipes/configs/accelerate/zero2.yaml, which divides gradients and optimizer, or with plain DDP."
            )

    def get_batch_sampler(self, *args: Any, **options: Any) -> BatchSampler:
        return self.sampler

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: its card would print sentences of the training data."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if not math.isfinite(logs.get("loss", 0.0)):
            raise RuntimeError(
                f"The loss is not a number at step {self.state.global_step}. "
                "Try a lower learning rate, or float32 in place of a half precision."
            )
        super().log(logs, start_time)

    def check(self, checkpoint: str) -> None:
        """Raise where a checkpoint holds no weights of this model."""
        with safe_open(Path(checkpoint, SAFE_WEIGHTS_NAME), framework="pt") as held:
            names = held.keys()
            there = {(name, tuple(held.get_slice(name).get_shape())) for name in names}
        here = {(name, tuple(weight.shape)) for name, weight in self.model.state_dict().items()}
        if there != here:
            name, _ = min(there ^ here)
            raise ValueError(
                f"This run cannot go on from {checkpoint}: the model that left it had another trunk, head or adapter "
                f"than this one, see {name}."
            )

    # A checkpoint holds all of the model in one file, the head and adapters too: what the library writes would need
    # each part to be loadable by itself.
    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        # Copies: under ZeRO all weights are views of one piece of memory, which safetensors does not take.
        weights = {name: weight.clone() for name, weight in self.model.state_dict().items()}
        save_file(weights, folder / SAFE_WEIGHTS_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self.check(resume_from_checkpoint)
        self.model.load_state_dict(load_file(Path(resume_from_checkpoint, SAFE_WEIGHTS_NAME)))

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))
