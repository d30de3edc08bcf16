"""Training from encoded rows to the end of the last step, beside the trainers that people use today."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss, MSELoss
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from ..arguments import MultitaskTrainingArguments
from ..models.modeling_multitask import MultitaskModel
from ..schedules import Cycle
from ..trainer import MultitaskTrainer
from .texts import text_rows, tokenizer
from .turns import Contender
from .workload import TASKS, Workload

__all__ = ["contenders", "multitask_trainer", "training"]

Rows = Mapping[str, Dataset]
PAIRS = [name for name, task in TASKS.items() if task.pair]


def contenders(workload: Workload) -> list[Contender]:
    """Each turn trains on the same rows of every task, `workload.batches` batches of each.

    Ours makes an update from a batch of each task; "a task a step", one from each batch, as many as the others.
    CrossEncoders read pairs alone, and are compared on the tasks that have them.
    """
    rows = {name: text_rows(workload, name, workload.rows * workload.batches) for name in TASKS}
    pairs = {name: rows[name] for name in PAIRS}
    three, two = (workload.rows * workload.batches * len(part) for part in (rows, pairs))
    return [
        training("ours", [multitask_trainer(workload, rows)], rows=three),
        training("transformers.Trainer", trainers(workload, rows, "random"), at_least=1.5, rows=three),
        training(
            "transformers.Trainer, group_by_length",
            trainers(workload, rows, "group_by_length"),
            at_least=1.5,
            rows=three,
        ),
        training("ours, a task a step", [multitask_trainer(workload, rows, schedule=Cycle())], rows=three),
        training("ours, pairs", [multitask_trainer(workload, pairs)], "ours, pairs", rows=two),
        training("CrossEncoderTrainer, pairs", cross_encoders(workload, pairs), "ours, pairs", at_least=1.3, rows=two),
        training(
            "ours, pairs, a task a step",
            [multitask_trainer(workload, pairs, schedule=Cycle())],
            "ours, pairs",
            rows=two,
        ),
    ]


def training(name: str, trained: Sequence[Trainer], against: str | None = None, **options: Any) -> Contender:
    """Train each, one after the other, from its first row to its last.

    Their optimizers' memory is made before and let go after a turn: else those of all contenders do not fit, and a
    training of a few steps would be measured by its first.
    """
    for trainer in trained:
        trainer.remove_callback(PrinterCallback)

    def step(i: int) -> None:
        for trainer in trained:
            trainer.train()

    def before() -> None:
        for trainer in trained:
            fill(trainer)

    def after() -> None:
        for trainer in trained:
            release(trainer)

    return Contender(name, step, against, settles=False, before=before, after=after, **options)


def fill(trainer: Trainer) -> None:
    """Make the optimizer, and its memory by a step that goes nowhere."""
    optimizer = trainer.create_optimizer()
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def release(trainer: Trainer) -> None:
    model: Any = trainer.model
    for holder in (trainer, trainer.callback_handler):
        holder.optimizer = holder.lr_scheduler = None
    trainer.accelerator.free_memory()
    model.zero_grad(set_to_none=True)


def settings(workload: Workload) -> dict[str, Any]:
    """What all trainers are told."""
    return {
        "output_dir": str(Path(gettempdir(), "hf_multitask_benchmark")),
        "num_train_epochs": 1,
        "per_device_train_batch_size": workload.rows,
        "learning_rate": 1e-5,
        "bf16": workload.bf16,
        "use_cpu": workload.device == "cpu",
        "save_strategy": "no",
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "disable_tqdm": True,
        "report_to": "none",
        "seed": workload.seed,
    }


def multitask_trainer(
    workload: Workload, rows: Rows, model: MultitaskModel | None = None, **options: Any
) -> MultitaskTrainer:
    return MultitaskTrainer(
        model or workload.model(),
        MultitaskTrainingArguments(**settings(workload)),
        train_dataset=rows,
        processing_class=tokenizer(workload),
        **options,
    )


def trainers(workload: Workload, rows: Rows, strategy: str) -> list[Trainer]:
    """As transformers' guide to text classification says: tokenized beforehand, padded to the batch's longest."""
    words = tokenizer(workload)
    return [
        Trainer(
            bert(workload, name),
            TrainingArguments(**settings(workload), train_sampling_strategy=strategy),
            train_dataset=tokenized(rows[name], words),
            data_collator=DataCollatorWithPadding(words),
            processing_class=words,
        )
        for name in rows
    ]


def bert(workload: Workload, task: str) -> BertForSequenceClassification:
    """The same shape, with a head for one task."""
    labels = len(TASKS[task].objective.labels or [0])
    return BertForSequenceClassification(BertConfig(**{**workload.shape, "num_labels": labels}))


def tokenized(rows: Dataset, words: BertTokenizer) -> Dataset:
    def encode(batch: Mapping[str, Any]) -> Any:
        return words(batch["first"], batch.get("second"), truncation=True)

    return rows.map(encode, batched=True, remove_columns=[n for n in rows.column_names if n != "label"])


def cross_encoders(workload: Workload, rows: Rows) -> list[Trainer]:
    """As sentence-transformers' guide says: texts, which the loss tokenizes batch by batch."""
    found: list[Trainer] = []
    for name in rows:
        model = workload.model()
        model.tokenizer = tokenizer(workload)
        scorer: CrossEncoder = model.to_cross_encoder(name).train()
        loss = BinaryCrossEntropyLoss(scorer) if name == "qqp" else MSELoss(scorer)
        labels = rows[name].map(lambda row: {"label": float(row["label"])})
        found.append(
            CrossEncoderTrainer(scorer, CrossEncoderTrainingArguments(**settings(workload)), labels, loss=loss)
        )
    return found
