"""What recipes have in common: tasks, where rows come from, a model, and what every training says."""

import inspect
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

from transformers import BertConfig

from ..data.demo import Demo
from ..data.sources import Course, Files, Hub, Published
from ..evaluator import fitting
from ..metrics import METRICS
from ..models.configuration_minbert import MinBertConfig
from ..models.configuration_multitask import check_task
from ..models.construct import unknown
from ..models.heads import HEADS
from ..models.objectives import OBJECTIVES, build_objective
from ..schema import MemberOf, OptionsOf, Preset, RecipeError
from ..tasks import TASKS, Task
from ..tuners.methods import TUNERS

__all__ = [
    "SOURCES",
    "DataSection",
    "ModelSection",
    "RunRecipe",
    "SizeOptions",
    "Source",
    "TaskSection",
    "TunerOptions",
    "misnamed",
    "trainer_options",
]

SOURCES: dict[str, type] = {source.__name__: source for source in (Course, Demo, Files, Hub, Published)}

Source = Annotated[dict[str, Any], MemberOf("source", SOURCES)]
CommonSource = Annotated[dict[str, Any], MemberOf("source", SOURCES, shorthands={"data_dir": "Course"})]
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

# Of a trainer's settings those that --help shows.
USUAL = (
    *("num_train_epochs", "max_steps", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay"),
    *("max_grad_norm", "per_device_train_batch_size", "per_device_eval_batch_size"),
)
RARER = (
    *("bf16", "eval_strategy", "eval_steps", "save_strategy", "save_steps", "save_total_limit"),
    *("load_best_model_at_end", "metric_for_best_model", "logging_steps", "report_to"),
)


def trainer_options(
    arguments: type, *, ours: Collection[str] = (), usual: Collection[str] = (), without: Collection[str] = ()
) -> OptionsOf:
    """The settings of a trainer's `arguments`; what is `ours` stands beside them in a recipe, not among them."""
    hints = {name: kind for name, kind in get_type_hints(arguments).items() if name not in without}
    # What a recipe says is written into its folder, and published with it.
    hints = {name: kind for name, kind in hints.items() if not name.endswith("_token")}
    elsewhere = {name: name for name in ("output_dir", "seed", *ours)} | {"resume_from_checkpoint": "resume"}
    hints["bf16"] = bool | Literal["auto"]
    return OptionsOf(arguments, hints, elsewhere=elsewhere, usual=(*USUAL, *usual, *RARER))


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


def misnamed(said: Mapping[str, Collection[str]], names: Collection[str]) -> list[str]:
    """A sentence for each task that is not among `names`, by the settings that say something of it."""
    return [
        f"{part}: {unknown('task', name, names)}" for part, given in said.items() for name in given if name not in names
    ]


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
    join: dict[str, list[str]] = field(
        default_factory=dict,
        metadata={"help": "Built-in tasks of the source, all of whose rows a task trains on too: {sts: [sick]}"},
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

    def misnamed(self, names: Collection[str]) -> list[str]:
        """What it says of tasks that are not among those of `names`, nor join any."""
        joined = [name for others in self.join.values() for name in others]
        found = misnamed({"data.limit": self.limit}, [*names, *joined])
        found += misnamed({"data.stream": self.stream, "data.join": self.join}, names)
        return found + misnamed({"data.join": joined}, TASKS)


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
        if self.attn_implementation and self.trunk is None:
            raise ValueError("attn_implementation is for a pretrained trunk: a new one has attention of its own.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1. Got {self.dropout:g}.")


@dataclass
class RunRecipe:
    """What every training says: where it goes, and which tasks and rows it reads.

    A checkpoint is gone on from with the same `LASTING` settings alone; other ones of `TOLD` are said.
    """

    LASTING: ClassVar[tuple[str, ...]] = ("model.trunk", "model.revision")
    TOLD: ClassVar[tuple[str, ...]] = ()

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
        joined = [name for others in self.data.join.values() for name in others]
        found += self.data.misnamed(names)
        found += [f"data.join: '{name}' is judged here, and would be learnt." for name in joined if name in names]
        found += [f"data.join: '{name}' is streamed." for name in self.data.join if name in self.data.stream]
        if self.resume and self.overwrite:
            found.append("resume goes on with what overwrite would replace. Say --overwrite false beside it.")
        return found
