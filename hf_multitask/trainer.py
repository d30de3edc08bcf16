"""`transformers.Trainer` for steps that hold several tasks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from .arguments import MultitaskTrainingArguments
from .checkpoints import mark_whole, newest_whole
from .data.encoded import Collator, EncodedTask, StepDataset, encode_task
from .data.sampler import MultitaskSampler
from .evaluator import evaluate
from .models.construct import unknown
from .models.modeling_minbert import MinBertModel
from .models.modeling_multitask import MultitaskModel
from .models.objectives import Prediction
from .report import Report
from .schedules import RoundRobin, Schedule

__all__ = ["MultitaskTrainer", "NotFinite"]


class NotFinite(RuntimeError):
    """A loss became NaN or infinite."""


class MultitaskTrainer(Trainer):
    """Train a `MultitaskModel` on several tasks at once.

    `train_dataset` and `eval_dataset` map task names to rows with the columns first, second and label, as `load`
    gives them; the schedule says which tasks a step holds; `weights` multiply the tasks' losses. Evaluation gives
    `eval_score` beside each task's own metrics.
    """

    model: MultitaskModel
    args: MultitaskTrainingArguments
    sampler: MultitaskSampler

    def __init__(
        self,
        model: MultitaskModel,
        args: MultitaskTrainingArguments,
        *,
        train_dataset: Mapping[str, datasets.Dataset],
        eval_dataset: Mapping[str, datasets.Dataset] | None = None,
        schedule: Schedule | None = None,
        weights: Mapping[str, float] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        callbacks: list[TrainerCallback] | None = None,
        **options: Any,
    ):
        for name in (*train_dataset, *(eval_dataset or {}), *(weights or {})):
            if name not in model.config.tasks:
                raise ValueError(unknown("task of this model", name, model.config.tasks))
        if processing_class is not None:
            model.tokenizer = processing_class
        self.schedule = schedule or RoundRobin()
        # In the model's order, whatever order the rows came in.
        self.names = [name for name in model.config.tasks if name in train_dataset]
        self.weights = {name: (weights or {}).get(name, 1.0) for name in self.names}
        self.encoded = {
            name: EncodedTask(encode_task(train_dataset[name], name, model.config, model.tokenizer))
            for name in self.names
        }
        if args.ddp_find_unused_parameters is None:
            # Looking for parameters without gradient costs a walk over the graph in each step.
            whole = self.schedule.every_task and len(self.names) == len(model.config.tasks)
            args.ddp_find_unused_parameters = not (whole and isinstance(model.trunk, MinBertModel))
        callbacks = list(callbacks or [])
        if args.early_stopping is not None:
            callbacks.append(EarlyStoppingCallback(args.early_stopping))
        super().__init__(
            model=model,
            args=args,
            data_collator=Collator(),
            train_dataset=StepDataset(self.encoded),
            eval_dataset=None if eval_dataset is None else dict(eval_dataset),
            processing_class=model.tokenizer,
            callbacks=callbacks,
            **options,
        )
        self.add_callback(EpochCallback(self))
        # The model gives means over rows; Trainer divides them by the accumulation steps.
        self.loss_is_scaled_for_ga = False
        self.curves = torch.zeros(len(self.names), 2, device=args.device)

    def get_train_dataloader(self) -> DataLoader:
        """Batches as the schedule plans them, each process its own."""
        args = self.args
        self.sampler = MultitaskSampler(
            {name: task.lengths for name, task in self.encoded.items()},
            self.schedule,
            batch_size=self._train_batch_size,
            world=args.world_size,
            accumulation=args.gradient_accumulation_steps,
            seed=args.seed if args.data_seed is None else args.data_seed,
        )
        steps = self.sampler.steps
        self.sampler.epochs = math.ceil(args.max_steps / steps if args.max_steps > 0 else args.num_train_epochs)
        loader = DataLoader(
            StepDataset(self.encoded),
            batch_sampler=self.sampler,
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
        )
        return self.accelerator.prepare(loader)

    def num_examples(self, dataloader: DataLoader) -> int:
        return self.sampler.rows_in_epoch()

    def get_total_train_batch_size(self, args: TrainingArguments) -> int:
        """Rows of a step, all tasks, processes and micro-steps together."""
        return round(self.sampler.rows_in_epoch() / self.sampler.steps)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        output = model(**inputs)
        losses = output["losses"]
        self.record(losses)
        loss = torch.stack([self.weights[name] * value for name, value in losses.items()]).sum()
        loss = loss / len(losses) if self.args.loss == "mean" else loss
        return (loss, output) if return_outputs else loss

    def record(self, losses: Mapping[str, Tensor]) -> None:
        """Add to the learning curves, on the device; on a processor, stop at the first loss that is no number."""
        for name, loss in losses.items():
            index = self.names.index(name)
            self.curves[index, 0] += loss.detach()
            self.curves[index, 1] += 1
        if self.args.device.type == "cpu":
            self.check_finite()

    def check_finite(self) -> None:
        broken = [
            name for name, total in zip(self.names, self.curves[:, 0].tolist(), strict=True) if not math.isfinite(total)
        ]
        if broken:
            raise NotFinite(
                f"The loss of {', '.join(broken)} is not a number at step {self.state.global_step + 1}. "
                "Try a lower learning rate, or float32 in place of a half precision. "
                f"The last good checkpoint is {newest_whole(self.args.output_dir) or 'none'}."
            )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the mean loss of each task since the last time."""
        if "loss" in logs:
            self.check_finite()
            total, count = self.accelerator.reduce(self.curves, "sum").unbind(-1)
            means = (total / count.clamp(min=1)).tolist()
            logs |= {f"loss_{name}": mean for name, mean, n in zip(self.names, means, count.tolist(), strict=True) if n}
            self.curves.zero_()
        super().log(logs, start_time)

    def evaluate(  # type: ignore[override]
        self,
        eval_dataset: dict[str, datasets.Dataset] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """The metrics of every task and the score, by the package's own evaluator."""
        rows: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        report = self.report(rows, resamples=0)
        metrics = {
            f"{metric_key_prefix}_{name}_{metric}": value
            for name, found in report.tasks.items()
            for metric, value in found.items()
            if isinstance(value, float)
        }
        metrics[f"{metric_key_prefix}_score"] = report.score
        metrics[f"{metric_key_prefix}_runtime"] = report.seconds
        metrics[f"{metric_key_prefix}_samples_per_second"] = report.examples_per_second
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def report(self, rows: dict[str, datasets.Dataset], **options: Any) -> Report:
        """What the model achieves on labelled rows, in the training's own precision; `options` are `evaluate`'s."""
        predictor = InBatches(self.model, self.args.per_device_eval_batch_size)
        with self.accelerator.autocast():
            return evaluate(predictor, rows, distributed=self.args.world_size > 1, **options)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **options: Any) -> Any:
        """Train; True resumes from the newest checkpoint that was written to its end."""
        if resume_from_checkpoint is True:
            found = newest_whole(self.args.output_dir)
            if found is None:
                raise ValueError(f"No whole checkpoint in {self.args.output_dir}. Start without resuming.")
            resume_from_checkpoint = str(found)
        return super().train(resume_from_checkpoint, *args, **options)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.model.config.adapters and not (self.is_deepspeed_enabled or self.is_fsdp_enabled):
            # Trainer knows the files of one adapter, not those of a model with several.
            self.model.restore(resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if self.model.config.adapters and not (self.is_deepspeed_enabled or self.is_fsdp_enabled):
            self.model.restore(str(self.state.best_model_checkpoint))
        else:
            super()._load_best_model()

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        # Older checkpoints go only when the new one is whole: a kill in between must leave one to resume from.
        self.check_finite()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial))
            mark_whole(folder / f"checkpoint-{self.state.global_step}")
            rotate_checkpoints(
                output_dir=str(folder),
                save_total_limit=limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )


@dataclass(frozen=True)
class InBatches:
    """A model that predicts with a batch size of its own."""

    model: MultitaskModel
    batch_size: int

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        return self.model.tasks

    def predict(self, task: str, first: list[str], second: list[str] | None = None) -> Prediction:
        return self.model.predict(task, first, second, batch_size=self.batch_size)


class EpochCallback(TrainerCallback):
    """Tell the sampler which epoch begins: accelerate's wrappers do not pass it on after a resume."""

    def __init__(self, trainer: MultitaskTrainer):
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.sampler.set_epoch(int(state.epoch or 0))
