"""Training from encoded rows to the end of the last step, beside the trainers that people use today."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any

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

__all__ = ["contenders", "multitask_trainer"]

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
        Contender("ours", repeated([multitask_trainer(workload, rows)]), rows=three),
        Contender("transformers.Trainer", repeated(trainers(workload, rows, "random")), at_least=1.5, rows=three),
        Contender(
            "transformers.Trainer, group_by_length",
            repeated(trainers(workload, rows, "group_by_length")),
            at_least=1.5,
            rows=three,
        ),
        Contender("ours, a task a step", repeated([multitask_trainer(workload, rows, schedule=Cycle())]), rows=three),
        Contender("ours, pairs", repeated([multitask_trainer(workload, pairs)]), "ours, pairs", rows=two),
        Contender(
            "CrossEncoderTrainer, pairs",
            repeated(cross_encoders(workload, pairs)),
            "ours, pairs",
            at_least=1.3,
            rows=two,
        ),
        Contender(
            "ours, pairs, a task a step",
            repeated([multitask_trainer(workload, pairs, schedule=Cycle())]),
            "ours, pairs",
            rows=two,
        ),
    ]


def repeated(trained: Sequence[Trainer]) -> Callable[[int], None]:
    """Train each, one after the other, from its first row to its last."""
    for trainer in trained:
        trainer.remove_callback(PrinterCallback)

    def step(i: int) -> None:
        for trainer in trained:
            trainer.train()
            release(trainer)

    return step


def release(trainer: Trainer) -> None:
    """Let go of what a training leaves behind, so that all contenders fit beside each other."""
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
