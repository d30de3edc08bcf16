"""The recipe of a first stage: which settings there are, and what each may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from datasets import Dataset

from ..arguments import settled
from ..models.configuration_minbert import MinBertConfig
from ..models.construct import unknown
from ..pretraining.stages import STAGES, SimCSE, Stage, build_stage
from ..pretraining.texts import TEXTS, TaskTexts, build_texts
from ..pretraining.trainer import PretrainingArguments
from ..schema import MemberOf, RecipeError
from ..tasks import Task
from .parts import ModelSection, RunRecipe, SizeOptions, TaskSection, TunerOptions, trainer_options

__all__ = ["PretrainRecipe", "TrunkSection"]

StageOptions = Annotated[dict[str, Any], MemberOf("objective", STAGES)]
TextOptions = Annotated[dict[str, Any], MemberOf("text", TEXTS, shorthands={"text_file": "TextFile"})]

SIMILARITIES = ("spearman_cosine", "pearson_cosine", "uniformity", "alignment")
LESS = ("_uniformity", "_alignment")
"""How metrics end of which less is better."""

# What the objective decides, what only a model with several kinds of input needs, and what would do nothing here.
DECIDED = {"batch_sampler", "multi_dataset_batch_sampler", "router_mapping", "prompts", "warmup_ratio"}
DECIDED |= {"auto_find_batch_size", "dataloader_drop_last", "label_smoothing_factor", "neftune_noise_alpha"}
DECIDED |= {"push_to_hub", "train_sampling_strategy"}
TrainingOptions = Annotated[dict[str, Any], trainer_options(PretrainingArguments, without=DECIDED)]


@dataclass
class TrunkSection:
    """The trunk that is trained, and how its vectors are read."""

    trunk: str | None = field(
        default=None, metadata={"help": "A folder or a Hub id; null: a minBERT with random weights"}
    )
    revision: str = field(default="main", metadata={"help": "The trunk's branch, tag or commit on the Hub"})
    size: SizeOptions = field(
        default_factory=dict, metadata={"help": "Fields of MinBertConfig for the trunk with random weights"}
    )
    pooling: Literal["cls", "mean"] = field(
        default="mean", metadata={"help": "How a sequence becomes one vector: cls or mean"}
    )
    freeze_trunk: bool = field(default=False, metadata={"help": "Train the adapter alone"})

    def __post_init__(self) -> None:
        MinBertConfig(**self.size)

    def build(self) -> ModelSection:
        """The same trunk as a model's."""
        return ModelSection(trunk=self.trunk, revision=self.revision, size=self.size, pooling=self.pooling)


@dataclass
class PretrainRecipe(RunRecipe):
    """Train a trunk before the tasks: by SimCSE, by ranking classes or by ranking paraphrases.

    Examples:
      python recipes/pretrain.py --output_dir outputs/first
      python recipes/pretrain.py --config recipes/configs/pretrain/simcse.yaml --text_file wiki.txt
      python recipes/pretrain.py --config recipes/configs/pretrain/class_ranking.yaml --data_dir data
      python recipes/pretrain.py --config recipes/configs/pretrain/ranking.yaml --data_dir data
      python recipes/train.py --config recipes/configs/real.yaml --model.trunk outputs/ranking
    """

    LASTING = (*RunRecipe.LASTING, "objective", "tuner", "model.pooling", "model.size", "model.freeze_trunk")
    TOLD = ("text", "seed", "data.source", "data.limit")

    output_dir: str = field(
        default="outputs/pretrain", metadata={"help": "Folder of the trunk, its checkpoints and the report"}
    )
    objective: StageOptions = field(
        default_factory=lambda: {"class": "SimCSE"}, metadata={"help": f"What it learns: {', '.join(STAGES)}"}
    )
    text: TextOptions = field(
        default_factory=lambda: {"class": "TaskTexts"}, metadata={"help": "The sentences that SimCSE reads"}
    )
    tuner: TunerOptions | None = field(
        default=None, metadata={"help": "Gives the trunk one adapter: {class: Pal}, or {class: LoraConfig}"}
    )
    similarity: str | None = field(
        default="sts", metadata={"help": "The pairs with numbers by which plain cosine is judged; null: none"}
    )
    probe: str | None = field(
        default="sst", metadata={"help": "The texts with classes by which a linear probe is judged; null: none"}
    )
    model: TrunkSection = field(default_factory=TrunkSection)
    training: TrainingOptions = field(
        default_factory=dict, metadata={"help": "Fields of SentenceTransformerTrainingArguments"}
    )

    def __post_init__(self) -> None:
        names, faults = [task.name for task in self.tasks], self.faults()
        if self.data.stream:
            faults.append("data.stream is for train.py: a first stage needs all its texts.")
        faults += self.misfits({task.name: task.build() for task in self.tasks})
        if self.similarity is None and self.probe is None:
            faults.append("Nothing judges the result. Name a task of pairs in similarity, or one of classes in probe.")
        best = str(self.training.get("metric_for_best_model") or "").removeprefix("eval_")
        if best and best not in (known := self.metrics()):
            faults.append(f"training.metric_for_best_model: {unknown('metric', best, known)}")
        if self.model.freeze_trunk and self.tuner is None:
            faults.append("model.freeze_trunk leaves nothing to train. Give a tuner, such as --tuner.class Pal.")
        if self.reads_text:
            try:
                build_texts(self.text).tasks(names)
            except ValueError as error:
                faults.append(f"text: {error}")
        elif build_texts(self.text) != TaskTexts():
            faults.append(f"text is what SimCSE reads; {self.objective['class']} reads the rows of objective.task.")
        if faults:
            raise RecipeError(faults)

    @property
    def reads_text(self) -> bool:
        return isinstance(self.stage(), SimCSE)

    def misfits(self, tasks: dict[str, Task]) -> list[str]:
        """What is wrong with the tasks that are read, or judged by."""
        stage, faults = self.stage(), []
        places = {"objective.task": stage.task, "similarity": self.similarity, "probe": self.probe}
        for place, name in places.items():
            if name is None:
                continue
            if name not in tasks:
                faults.append(f"{place}: {unknown('task', name, tasks)}")
                continue
            task = tasks[name]
            if place == "objective.task" and (complaint := stage.complaint(task)):
                faults.append(f"{place}: {complaint}")
            if place == "similarity" and not (task.pair and task.objective.labels is None):
                faults.append(f"{place}: cosine is compared with the numbers of pairs, and '{name}' has none.")
            if place == "probe" and (task.pair or task.objective.labels is None):
                faults.append(f"{place}: a probe tells the classes of single texts, and '{name}' has none.")
        return faults

    def stage(self) -> Stage:
        return build_stage(self.objective)

    def read_tasks(self) -> list[TaskSection]:
        """The tasks whose rows are needed."""
        names = {self.stage().task, self.similarity, self.probe}
        if self.reads_text:
            names |= set(build_texts(self.text).tasks([task.name for task in self.tasks]))
        return [task for task in self.tasks if task.name in names]

    def sentences(self, train: Mapping[str, Dataset]) -> list[str]:
        """The plain text that the objective reads; none where it reads a task's rows."""
        return build_texts(self.text).sentences(train, seed=self.seed) if self.reads_text else []

    @property
    def chooses(self) -> str:
        """The metric of the best checkpoint: what the objective is best judged by, or else the other one."""
        if said := self.training.get("metric_for_best_model"):
            return said
        metrics = {}
        if self.similarity:
            metrics["similarity"] = f"{self.similarity}_spearman_cosine"
        if self.probe:
            (section,) = [task for task in self.tasks if task.name == self.probe]
            metrics["probe"] = f"{self.probe}_{section.metric}"
        return metrics.get(self.stage().judge) or next(iter(metrics.values()))

    def metrics(self) -> list[str]:
        """What is told while it trains, by which the best checkpoint can be chosen."""
        pairs = [f"{self.similarity}_{kind}" for kind in SIMILARITIES] if self.similarity else []
        return [*pairs, *(f"{task.name}_{task.metric}" for task in self.tasks if task.name == self.probe)]

    def judged(self) -> list[str]:
        """The tasks by which the trunk is judged before and after."""
        return [name for name in (self.similarity, self.probe) if name]

    def watched(self) -> list[str]:
        """The tasks that are judged while it trains: the pairs, and the classes where they choose."""
        probes = self.chooses.removeprefix("eval_").startswith(f"{self.probe}_")
        return [name for name in self.judged() if probes or name != self.probe]

    def arguments(self) -> PretrainingArguments:
        """The trainer's settings; what they say against each other is a fault of the recipe."""
        greater = not self.chooses.endswith(LESS)
        options = {"greater_is_better": greater, **settled(self.training), "metric_for_best_model": self.chooses}
        try:
            return PretrainingArguments(output_dir=self.output_dir, seed=self.seed, **options)
        except ValueError as error:
            raise RecipeError([f"training: {error}"]) from error
