"""The recipe of a training: which settings there are, and what each may be."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from ..aggregators import AGGREGATORS, build_aggregator
from ..arguments import MultitaskTrainingArguments, settled
from ..evaluator import fitting
from ..models.construct import unknown
from ..models.objectives import build_objective
from ..regularizers import REGULARIZERS, build_regularizer
from ..schedules import SCHEDULES, build_schedule
from ..schema import MemberOf, RecipeError
from ..tasks import TASKS
from ..training.gradients import misfits
from .parts import ModelSection, RunRecipe, TunerOptions, misnamed, trainer_options

__all__ = ["TrainRecipe"]

ScheduleOptions = Annotated[dict[str, Any], MemberOf("schedule", SCHEDULES)]
AggregatorOptions = Annotated[dict[str, Any], MemberOf("aggregator", AGGREGATORS)]
RegularizerOptions = Annotated[dict[str, Any], MemberOf("regularizer", REGULARIZERS)]
TrainingOptions = Annotated[
    dict[str, Any],
    trainer_options(
        MultitaskTrainingArguments,
        ours=("loss", "early_stopping", "halve_on_rising_loss"),
        usual=("gradient_accumulation_steps", "torch_compile"),
    ),
]


@dataclass
class TrainRecipe(RunRecipe):
    """Train one model on several tasks.

    Examples:
      python recipes/train.py --output_dir outputs/first
      python recipes/train.py --training.learning_rate 2e-5 --training.num_train_epochs 2
      python recipes/train.py --config recipes/configs/real.yaml --data_dir data --data.limit.qqp 6000
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
        faults += misnamed({"train_on": self.train_on or ()}, names)
        if self.train_on == []:
            faults.append("train_on is empty. Name a task or more, or null for all.")
        if self.early_stopping is not None and self.early_stopping < 1:
            faults.append(f"early_stopping must be 1 or more, or null. Got {self.early_stopping}.")
        if self.halve_on_rising_loss is not None and self.halve_on_rising_loss < 1:
            faults.append(f"halve_on_rising_loss must be 1 or more, or null. Got {self.halve_on_rising_loss}.")
        classes = Counter(spec["class"] for spec in self.regularizers)
        faults += [f"regularizers: {name} is there {n} times." for name, n in classes.items() if n > 1]
        best = str(self.training.get("metric_for_best_model") or "score").removeprefix("eval_")
        if best not in (known := self.metrics()):
            faults.append(f"training.metric_for_best_model: {unknown('metric', best, known)}")
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

    def metrics(self) -> list[str]:
        """What an evaluation tells, by which the best model can be chosen."""
        found = ["score"]
        for task in self.tasks:
            found += [f"{task.name}_{metric}" for metric in (*fitting(build_objective(task.objective)), "loss")]
        return found

    def methods(self) -> dict[str, Any]:
        """How the tasks are trained together, as `MultitaskTrainer` takes it."""
        return {
            "schedule": build_schedule(self.schedule),
            "stream_rows": self.data.stream,
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
