"""`transformers.Trainer` for steps that hold several tasks."""

import copy
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase, TrainerCallback, TrainingArguments
from transformers.training_args import OptimizerNames

from .aggregators import Aggregator
from .arguments import MultitaskTrainingArguments
from .data.encoded import Collator, StepDataset, split_by_task
from .data.sampler import MultitaskSampler
from .data.streams import Stream, StreamedTask, encode_all
from .evaluator import InBatches, checked_labels, evaluate
from .models.construct import unknown
from .models.modeling_minbert import MinBertModel
from .models.modeling_multitask import MultitaskModel
from .regularizers import Regularizer
from .report import Report
from .schedules import RoundRobin, Schedule
from .training.backends import backend_of, prepare
from .training.callbacks import EpochCallback, HalveOnRisingLoss
from .training.checkpoints import WholeCheckpoints, newest_whole
from .training.curves import Curves, NotFinite
from .training.gradients import TaskGradients, misfits
from .training.interruptions import Interrupted, Interruptible
from .training.limits import too_much
from .training.memory import Keeping
from .training.optimizers import SparingAdamW, WholeState, groups, hasten
from .training.origins import Origin
from .training.penalties import Penalties
from .training.pushing import Pushing

__all__ = ["Interrupted", "MultitaskTrainer", "NotFinite"]

logger = logging.getLogger(__name__)

OTHERS = ("compute_loss_func", "compute_metrics", "preprocess_logits_for_metrics")
MANY = 1000
"""Losses and penalties that may wait on a GPU until they are looked at: each keeps its batch."""


class MultitaskTrainer(Keeping, Interruptible, WholeCheckpoints, Pushing):
    """Train a `MultitaskModel` on several tasks at once.

    `train_dataset` and `eval_dataset` map task names to rows with the columns first, second and label, as `load`
    gives them. Training rows may come from a stream, an `IterableDataset` or a `RowStream`, of which a pass is as many
    rows as `stream_rows` says. The schedule says which tasks a step holds; `weights` multiply the tasks' losses. Their
    losses are summed, unless an `aggregator` joins their gradients; `regularizers` add a penalty to each. Evaluation
    gives `eval_score` beside each task's own metrics.
    """

    model: MultitaskModel
    args: MultitaskTrainingArguments
    sampler: MultitaskSampler

    def __init__(
        self,
        model: MultitaskModel,
        args: MultitaskTrainingArguments,
        *,
        train_dataset: Mapping[str, datasets.Dataset | datasets.IterableDataset | Stream],
        stream_rows: Mapping[str, int] | None = None,
        eval_dataset: Mapping[str, datasets.Dataset] | None = None,
        schedule: Schedule | None = None,
        weights: Mapping[str, float] | None = None,
        aggregator: Aggregator | None = None,
        regularizers: Sequence[Regularizer] = (),
        processing_class: PreTrainedTokenizerBase | None = None,
        callbacks: list[TrainerCallback] | None = None,
        **options: Any,
    ):
        check_by_task("train_dataset", train_dataset)
        check_by_task("eval_dataset", eval_dataset or {})
        if not train_dataset:
            raise ValueError("train_dataset is empty. Give the rows of one task or more, such as {'sst': rows}.")
        for name in (*train_dataset, *(eval_dataset or {}), *(weights or {}), *(stream_rows or {})):
            if name not in model.config.tasks:
                raise ValueError(unknown("task of this model", name, model.config.tasks))
        if below := [name for name, weight in (weights or {}).items() if not weight >= 0]:
            raise ValueError(f"The weight of a task is zero or more. Got {(weights or {})[below[0]]} for {below[0]}.")
        if eval_dataset:
            # What cannot be judged is known before an epoch was trained for it.
            checked_labels(model.tasks, dict(eval_dataset))
        if given := [name for name in OTHERS if options.get(name) is not None]:
            raise ValueError(f"Tasks have objectives and metrics of their own. Leave {', '.join(given)} out.")
        if processing_class is not None:
            model.tokenizer = processing_class
        if faults := too_much(model):
            raise ValueError(" ".join(faults))
        self.schedule = schedule or RoundRobin()
        # In the model's order, whatever order the rows came in.
        self.names = [name for name in model.config.tasks if name in train_dataset]
        self.weights = {name: (weights or {}).get(name, 1.0) for name in self.names}
        if aggregator and (faults := misfits(aggregator, self.schedule, self.names, loss=args.loss)):
            raise ValueError(" ".join(faults))
        self.data_seed = args.seed if args.data_seed is None else args.data_seed
        self.encoded = encode_all(
            {name: train_dataset[name] for name in self.names},
            model,
            counts=stream_rows or {},
            step_rows=args.step_rows,
            seed=self.data_seed,
        )
        if args.ddp_find_unused_parameters is None:
            # Whoever uses the arguments again may have another schedule.
            args = copy.copy(args)
            # Looking for parameters without gradient costs a walk over the graph in each step.
            whole = self.schedule.every_task and len(self.names) == len(model.config.tasks)
            args.ddp_find_unused_parameters = not (whole and isinstance(model.trunk, MinBertModel))
        callbacks = list(callbacks or [])
        if args.early_stopping is not None:
            callbacks.append(EarlyStoppingCallback(args.early_stopping))
        if args.halve_on_rising_loss is not None:
            callbacks.append(HalveOnRisingLoss(args.halve_on_rising_loss))
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
        prepare(self.accelerator, optim=OptimizerNames(args.optim).value)
        if backend_of(self.accelerator) == "FSDP" and args.optim.startswith("adamw_torch"):
            self.add_callback(WholeState())
        self.add_callback(EpochCallback(lambda epoch: self.sampler.set_epoch(epoch)))
        # The model gives means over rows; Trainer divides them by the accumulation steps.
        self.loss_is_scaled_for_ga = False
        self.penalties = Penalties(regularizers, model, tasks=self.names, accelerator=self.accelerator, seed=args.seed)
        self.add_callback(self.penalties)
        if args.auto_find_batch_size and any(isinstance(task, StreamedTask) for task in self.encoded.values()):
            raise ValueError("A stream is read in blocks of whole steps. Leave auto_find_batch_size off with streams.")
        self.curves = Curves([*(f"loss_{name}" for name in self.names), *self.penalties.curves])
        self.sparing: SparingAdamW | None = None
        self.gradients: TaskGradients | None = None
        if aggregator is not None:
            self.gradients = TaskGradients(
                aggregator, model, accelerator=self.accelerator, most=len(self.names), seed=args.seed
            )

    def get_train_dataloader(self) -> DataLoader:
        """Batches as the schedule plans them, each process its own."""
        args = self.args
        # What an attempt that ran out of memory left behind is none of the next one's.
        if self.gradients:
            self.gradients.forget()
        self.sampler = MultitaskSampler(
            {name: task.lengths for name, task in self.encoded.items()},
            self.schedule,
            batch_size=self._train_batch_size,
            world=args.world_size,
            accumulation=args.gradient_accumulation_steps,
            seed=self.data_seed,
            fill=self.is_deepspeed_enabled,
            streamed=[name for name, task in self.encoded.items() if isinstance(task, StreamedTask)],
        )
        self.sampler.end(epochs=args.num_train_epochs, max_steps=args.max_steps)
        loader = DataLoader(
            StepDataset(self.encoded),
            batch_sampler=self.sampler,
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            prefetch_factor=args.dataloader_prefetch_factor,
        )
        return self.accelerator.prepare(loader)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW, as the arguments say; under DeepSpeed one that leaves idle tasks alone there too."""
        given = self.optimizer is not None
        if self.is_deepspeed_enabled and self.optimizer is None:
            decays = self.get_decay_parameter_names(self.model)
            _, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.sparing = SparingAdamW(groups(self.model, decays, self.args.weight_decay), **options)
            self.optimizer = self.sparing
        optimizer = super().create_optimizer(model)
        if not given:
            hasten(optimizer, self.model if model is None else model)
        return optimizer

    def num_examples(self, dataloader: DataLoader) -> int:
        return self.sampler.rows_in_epoch()

    def get_total_train_batch_size(self, args: TrainingArguments) -> int:
        """Rows of a step, all tasks, processes and micro-steps together."""
        return round(self.sampler.rows_in_epoch() / self.sampler.steps)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """A pass forward and back: one for all tasks of the step, or, for an aggregator, one for each."""
        step = super().training_step
        if self.gradients is None:
            return step(model, inputs, num_items_in_batch)
        return self.gradients.collect(model, split_by_task(inputs), step, number=self.state.global_step)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        inputs = dict(inputs)
        idle = self.penalties.idle = inputs.pop("idle", [])
        if self.sparing is not None:
            self.sparing.idle = idle
        output = model(**inputs, regularize=self.penalties if self.penalties.due else None)
        losses = dict(output["losses"])
        self.record({name: loss for name, loss in losses.items() if name not in idle})
        for name, penalty in output.get("penalties", {}).items():
            losses[name] = losses[name] + penalty
        # Those of idle tasks are zero, and keep every task's parameters in the graph.
        loss = torch.stack([self.weights[name] * value for name, value in losses.items()]).sum()
        loss = loss / (len(losses) - len(idle)) if self.args.loss == "mean" else loss
        return (loss, output) if return_outputs else loss

    def record(self, losses: Mapping[str, Tensor]) -> None:
        """Add to the learning curves; on a processor, stop at the first loss or penalty that is no number."""
        for name, loss in losses.items():
            said = f"The loss of {name}".format
            self.curves.add(f"loss_{name}", loss, step=self.state.global_step + 1, said=said)
        self.penalties.record(self.curves)
        if self.args.device.type == "cpu" or len(self.curves.points) > MANY:
            self.check_finite()

    def check_finite(self) -> None:
        self.curves.check(
            lambda: (
                "Try a lower learning rate, or float32 in place of a half precision. "
                f"The last good checkpoint is {newest_whole(self.args.output_dir) or 'none'}."
            )
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the mean loss and penalties of each task since the last time."""
        if "loss" in logs:
            self.check_finite()
            logs |= (means := self.curves.read(self.accelerator))
            self.penalties.judge(means, self.state.global_step)
            logs |= self.gradients.logs() if self.gradients else {}
        super().log(logs, start_time)

    def evaluate(  # type: ignore[override]
        self,
        eval_dataset: dict[str, datasets.Dataset] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """The metrics of every task and the score, by the package's own evaluator."""
        # What steps left on a GPU is looked at before what they made of the model.
        self.check_finite()
        rows: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        check_by_task("eval_dataset", rows)
        report = self.report(dict(rows), resamples=0)
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

    def predict(self, *args: Any, **options: Any) -> Any:
        """Not here: a model answers texts itself, and a report judges rows."""
        raise NotImplementedError("Ask the model: trainer.model.predict(task, texts), or trainer.report({task: rows}).")

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
        if resume_from_checkpoint:
            resume_from_checkpoint = str(resume_from_checkpoint)
            changes = self.origin.check(Path(resume_from_checkpoint), self.model.config)
            if changes and self.accelerator.is_main_process:
                logger.warning(" ".join(changes))
        self.penalties.start(resume_from_checkpoint)
        self.forget_temperatures()
        return super().train(resume_from_checkpoint, *args, **options)

    def forget_temperatures(self) -> None:
        """Those of the tasks that are trained were fitted to the model as it was."""
        config = self.model.config
        stale = [name for name in self.names if name in config.temperatures]
        config.temperatures = {name: t for name, t in config.temperatures.items() if name not in stale}
        if stale and self.accelerator.is_main_process:
            logger.warning("The temperature of %s is dropped: it calibrated the model of before.", ", ".join(stale))

    @property
    def origin(self) -> Origin:
        """What a checkpoint of this run depends on."""
        rows = {name: len(task) for name, task in self.encoded.items()}
        step = self.args.step_rows
        options: Any = {"rows": rows, "step": step, "seed": self.data_seed}
        return Origin.of(self.model, self.schedule, accelerator=self.accelerator, **options)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.check_finite()
        super()._save_checkpoint(model, trial)

    def save_beside(self, checkpoint: Path) -> None:
        self.penalties.save(checkpoint)
        self.origin.save(checkpoint)


def check_by_task(name: str, rows: object) -> None:
    if not isinstance(rows, Mapping):
        raise ValueError(f"{name} is {{task: rows}}, such as {{'sst': rows}}. Got {type(rows).__name__}.")
