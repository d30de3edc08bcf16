"""The recipes, and the sections that they are made of: which settings there are, and what each may be."""

import inspect
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_type_hints

from transformers import BertConfig

from ..aggregators import AGGREGATORS, build_aggregator
from ..arguments import MultitaskTrainingArguments, settled
from ..data.demo import Demo
from ..data.sources import Course, Files, Hub, Published
from ..evaluator import fitting
from ..metrics import METRICS
from ..models.configuration_minbert import MinBertConfig
from ..models.configuration_multitask import check_task
from ..models.construct import unknown
from ..models.heads import HEADS
from ..models.objectives import OBJECTIVES, build_objective
from ..regularizers import REGULARIZERS, build_regularizer
from ..schedules import SCHEDULES, build_schedule
from ..schema import MemberOf, OptionsOf, Preset, RecipeError
from ..tasks import TASKS, Task
from ..training.gradients import misfits
from ..tuners.methods import TUNERS

__all__ = [
    "SOURCES",
    "DataSection",
    "EvaluateRecipe",
    "ModelSection",
    "RunRecipe",
    "TaskSection",
    "TrainRecipe",
]

SOURCES: dict[str, type] = {source.__name__: source for source in (Course, Demo, Files, Hub, Published)}

Source = Annotated[dict[str, Any], MemberOf("source", SOURCES)]
CommonSource = Annotated[dict[str, Any], MemberOf("source", SOURCES, shorthands={"data_dir": "Course"})]
ScheduleOptions = Annotated[dict[str, Any], MemberOf("schedule", SCHEDULES)]
AggregatorOptions = Annotated[dict[str, Any], MemberOf("aggregator", AGGREGATORS)]
RegularizerOptions = Annotated[dict[str, Any], MemberOf("regularizer", REGULARIZERS)]
ObjectiveOptions = Annotated[dict[str, Any], MemberOf("objective", OBJECTIVES)]
TunerOptions = Annotated[dict[str, Any], MemberOf("tuner", TUNERS)]
HeadOptions = Annotated[dict[str, Any], MemberOf("head", HEADS, given=("width", "outputs"))]

# The vocabulary is made of the training rows, and what a decoder would need no encoder has.
SIZES = {
    name: kind
    for config in (BertConfig, MinBertConfig)
    for name, kind in inspect.get_annotations(config, eval_str=True).items()
    if "vocab" not in name and "token_id" not in name and "decoder" not in name
}
SizeOptions = Annotated[
    dict[str, Any],
    OptionsOf(
        MinBertConfig,
        SIZES,
        usual=("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"),
    ),
]
TrainingOptions = Annotated[
    dict[str, Any],
    OptionsOf(
        MultitaskTrainingArguments,
        {**get_type_hints(MultitaskTrainingArguments), "bf16": bool | Literal["auto"]},
        elsewhere={
            **{name: name for name in ("output_dir", "seed", "loss", "early_stopping", "halve_on_rising_loss")},
            "resume_from_checkpoint": "resume",
        },
        usual=(
            "num_train_epochs",
            "max_steps",
            "learning_rate",
            "lr_scheduler_type",
            "warmup_steps",
            "weight_decay",
            "max_grad_norm",
            "per_device_train_batch_size",
            "per_device_eval_batch_size",
            "gradient_accumulation_steps",
            "bf16",
            "torch_compile",
            "eval_strategy",
            "eval_steps",
            "save_strategy",
            "save_steps",
            "save_total_limit",
            "load_best_model_at_end",
            "metric_for_best_model",
            "logging_steps",
            "report_to",
        ),
    ),
]


@dataclass
class TaskSection:
    """A task, as `Task` has it, and where its rows come from if not from the recipe's source."""

    name: str = field(metadata={"help": "Letters, digits and underscores"})
    objective: ObjectiveOptions = field(metadata={"help": "What it is trained towards"})
    pair: bool = field(default=False, metadata={"help": "It reads two texts"})
    metric: str = field(default="accuracy", metadata={"help": f"What it is judged by: {', '.join(METRICS)}"})
    head: HeadOptions = field(
        default_factory=lambda: {"class": "Linear"}, metadata={"help": "What turns pooled rows into scores"}
    )
    weight: float = field(default=1.0, metadata={"help": "Multiplies its loss"})
    scored: bool = field(default=True, metadata={"help": "It counts for the score"})
    data: Source | None = field(default=None, metadata={"help": "A source of its own, as data.source"})

    def __post_init__(self) -> None:
        task = self.build()
        if self.metric not in fitting(task.objective):
            raise ValueError(unknown("metric of this task", self.metric, fitting(task.objective)))
        check_task(task.describe())

    def build(self) -> Task:
        return Task(
            self.name,
            build_objective(self.objective),
            pair=self.pair,
            metric=self.metric,
            head=dict(self.head),
            weight=self.weight,
            scored=self.scored,
        )


def description(task: Task) -> dict[str, Any]:
    return {"name": task.name, "weight": task.weight, **task.describe()}


def core_tasks() -> list[TaskSection]:
    return [TaskSection(**description(TASKS[name])) for name in ("sst", "qqp", "sts")]


@dataclass
class DataSection:
    """Where rows come from, and which of them are used."""

    source: CommonSource = field(
        default_factory=lambda: {"class": "Demo"}, metadata={"help": "Where the rows of every task come from"}
    )
    on_bad_row: Literal["error", "drop"] = field(
        default="error", metadata={"help": "What to do about rows that cannot be used"}
    )
    max_length: int = field(default=128, metadata={"help": "Tokens of a sequence, beyond which it is cut"})
    limit: dict[str, int] = field(
        default_factory=dict,
        metadata={"help": "Most training rows of a task, by the seed: {qqp: 6000}"},
    )

    stream: dict[str, int] = field(
        default_factory=dict,
        metadata={"help": "Tasks whose training rows are read as they come, and how many make a pass: {qqp: 363846}"},
    )

    def __post_init__(self) -> None:
        sizes = {"limit": self.limit, "stream": self.stream}
        faults = [f"{k}.{name} must be 1 or more. Got {n}." for k, s in sizes.items() for name, n in s.items() if n < 1]
        faults += [f"stream.{name} is a limit already. Leave limit out." for name in self.stream if name in self.limit]
        if self.max_length < 3:
            faults.append(f"max_length must be 3 or more: two are special tokens. Got {self.max_length}.")
        if faults:
            raise RecipeError(faults)


@dataclass
class ModelSection:
    """The trunk that all tasks share, and how they read it."""

    trunk: str | None = field(
        default=None, metadata={"help": "A folder or a Hub id; null: a minBERT with random weights"}
    )
    revision: str = field(default="main", metadata={"help": "The trunk's branch, tag or commit on the Hub"})
    keep_heads: bool = field(
        default=False, metadata={"help": "The trunk is a trained model of these tasks: take its heads and adapters too"}
    )
    size: SizeOptions = field(
        default_factory=dict, metadata={"help": "Fields of MinBertConfig for the trunk with random weights"}
    )
    pooling: Literal["cls", "mean", "pooler"] = field(
        default="mean", metadata={"help": "How a sequence becomes one row: cls, mean or pooler"}
    )
    dropout: float = field(default=0.1, metadata={"help": "Dropout of every head that names none of its own"})
    freeze_trunk: bool = field(default=False, metadata={"help": "Train the heads and adapters alone"})
    train_norms: bool = field(default=False, metadata={"help": "Train the LayerNorms of a frozen trunk"})
    attn_implementation: str | None = field(
        default=None, metadata={"help": "eager, sdpa, flash_attention_2, ..; null: the best"}
    )

    def __post_init__(self) -> None:
        MinBertConfig(**self.size)
        if self.keep_heads and self.trunk is None:
            raise ValueError("keep_heads is for a trunk that is a trained model. Name its folder in trunk.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1. Got {self.dropout:g}.")


@dataclass
class RunRecipe:
    """What every training says: where it goes, and which tasks and rows it reads."""

    output_dir: str = field(
        default="outputs", metadata={"help": "Folder of what is trained, its checkpoints and the report"}
    )
    overwrite: bool = field(default=False, metadata={"help": "Write into output_dir though something is there"})
    resume: str | None = field(
        default=None, metadata={"help": "A checkpoint's folder; auto: the newest whole one in output_dir"}
    )
    seed: int = field(default=0, metadata={"help": "Decides every random draw"})
    tasks: list[Annotated[TaskSection, Preset("task", {name: description(task) for name, task in TASKS.items()})]] = (
        field(
            default_factory=core_tasks,
            metadata={"help": f"Some of {', '.join(TASKS)}, and your own: {{name: .., objective: ..}}"},
        )
    )
    data: DataSection = field(default_factory=DataSection)

    def faults(self) -> list[str]:
        """What these say against each other."""
        names = [task.name for task in self.tasks]
        found = [f"Task '{name}' is there {n} times." for name, n in Counter(names).items() if n > 1]
        for part in ("limit", "stream"):
            found += [
                f"data.{part}: {unknown('task', name, names)}" for name in getattr(self.data, part) if name not in names
            ]
        if self.resume and self.overwrite:
            found.append("resume continues what overwrite would replace. Give one of them.")
        return found


@dataclass
class TrainRecipe(RunRecipe):
    """Train one model on several tasks.

    Examples:
      python recipes/train.py --output_dir outputs/first
      python recipes/train.py --training.learning_rate 2e-5 --training.num_train_epochs 2
      python recipes/train.py --data_dir data --data.limit.qqp 6000 --model.trunk bert-base-uncased
      python recipes/train.py --tasks sst,sts --tasks.sts.head.class Cosine --schedule.class Annealed
      python recipes/train.py --config mine.yaml --output_dir outputs/first --resume auto
    """

    output_dir: str = field(
        default="outputs/train", metadata={"help": "Folder of the model, its checkpoints and the report"}
    )
    train_on: list[str] | None = field(
        default=None, metadata={"help": "The tasks that are trained, of those that are judged; null: all"}
    )
    schedule: ScheduleOptions = field(
        default_factory=lambda: {"class": "RoundRobin"}, metadata={"help": "Which tasks a step trains"}
    )
    tuner: TunerOptions | None = field(
        default=None, metadata={"help": "Gives every task an adapter: {class: Pal}, or {class: LoraConfig}"}
    )
    aggregator: AggregatorOptions | None = field(
        default=None, metadata={"help": f"Joins the gradients of a step's tasks: a class of {', '.join(AGGREGATORS)}"}
    )
    loss: Literal["sum", "mean"] = field(
        default="sum", metadata={"help": "How the losses of a step's tasks are joined: sum or mean"}
    )
    early_stopping: int | None = field(
        default=None, metadata={"help": "Stop after so many evaluations without a better score"}
    )
    halve_on_rising_loss: int | None = field(
        default=None, metadata={"help": "Halve the learning rate when the loss has risen so many epochs in a row"}
    )
    regularizers: list[RegularizerOptions] = field(
        default_factory=list,
        metadata={"help": "Penalties on the losses: [{class: Smart, weight: 5}]"},
    )
    compare: list[Literal["bag_of_words"]] = field(
        default_factory=list, metadata={"help": "Baselines beside the model in the report: bag_of_words"}
    )
    model: ModelSection = field(default_factory=ModelSection)
    training: TrainingOptions = field(
        default_factory=dict, metadata={"help": "Fields of MultitaskTrainingArguments, which are those of Trainer"}
    )

    def __post_init__(self) -> None:
        names, faults = [task.name for task in self.tasks], self.faults()
        if not names:
            faults.append(f"tasks is empty. Name one or more of {', '.join(TASKS)}, or describe your own.")
        faults += [f"train_on: {unknown('task', name, names)}" for name in self.train_on or () if name not in names]
        if self.train_on == []:
            faults.append("train_on is empty. Name a task or more, or null for all.")
        if self.early_stopping is not None and self.early_stopping < 1:
            faults.append(f"early_stopping must be 1 or more, or null. Got {self.early_stopping}.")
        if self.halve_on_rising_loss is not None and self.halve_on_rising_loss < 1:
            faults.append(f"halve_on_rising_loss must be 1 or more, or null. Got {self.halve_on_rising_loss}.")
        classes = Counter(spec["class"] for spec in self.regularizers)
        faults += [f"regularizers: {name} is there {n} times." for name, n in classes.items() if n > 1]
        if self.data.stream and self.model.trunk is None and not faults:
            faults.append("A new trunk takes its vocabulary from all training rows, which data.stream does not keep.")
        if self.data.stream and self.compare:
            faults.append(
                f"compare: {', '.join(self.compare)} reads all training rows, which data.stream does not keep."
            )
        if self.aggregator and not faults:
            aggregator, schedule = build_aggregator(self.aggregator), build_schedule(self.schedule)
            faults += misfits(aggregator, schedule, self.trained(), loss=self.loss)
        if faults:
            raise RecipeError(faults)

    def trained(self) -> list[str]:
        """The names of the tasks that are trained; the others' heads stay as they begin."""
        return [task.name for task in self.tasks if self.train_on is None or task.name in self.train_on]

    def methods(self) -> dict[str, Any]:
        """How the tasks are trained together, as `MultitaskTrainer` takes it."""
        return {
            "schedule": build_schedule(self.schedule),
            "stream_rows": self.data.stream,
            "weights": {task.name: task.weight for task in self.tasks},
            "aggregator": build_aggregator(self.aggregator) if self.aggregator else None,
            "regularizers": [build_regularizer(spec) for spec in self.regularizers],
        }

    def arguments(self) -> MultitaskTrainingArguments:
        """The trainer's settings; what they say against each other is a fault of the recipe."""
        try:
            return MultitaskTrainingArguments(
                output_dir=self.output_dir,
                seed=self.seed,
                loss=self.loss,
                early_stopping=self.early_stopping,
                halve_on_rising_loss=self.halve_on_rising_loss,
                **settled(self.training),
            )
        except ValueError as error:
            raise RecipeError([f"training: {error}"]) from error


@dataclass
class EvaluateRecipe:
    """Write a model's answers for a split, and judge them where the split has labels.

    Examples:
      python recipes/evaluate.py --model outputs/train
      python recipes/evaluate.py --model outputs/train --data_dir data --split test --tasks sst,sts
    """

    model: str = field(metadata={"help": "A model's folder, or its name on the Hub"})
    revision: str = field(default="main", metadata={"help": "The model's branch, tag or commit on the Hub"})
    output_dir: str = field(default="outputs/evaluate", metadata={"help": "Folder of the report or the predictions"})
    tasks: list[str] | None = field(default=None, metadata={"help": "Names of the model's tasks; null: all"})
    split: Literal["dev", "test", "train"] = field(
        default="dev", metadata={"help": "The rows to judge by: dev, test or train"}
    )
    batch_size: int = field(default=64, metadata={"help": "Rows of a batch"})
    seed: int = field(default=0, metadata={"help": "Decides the resamples behind the intervals"})
    data: DataSection = field(default_factory=DataSection)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more. Got {self.batch_size}.")
        if self.data.stream:
            raise ValueError("data.stream is for train.py: here every row is answered.")
