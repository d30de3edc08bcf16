"""The first stages: which rows they read, in which batches, towards which loss."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import nn

from ..models.adapters import is_adapter
from ..models.construct import construct
from ..models.objectives import Binary
from ..tasks import Task
from .encoder import ADAPTER
from .heads import TrainingHead
from .losses import ClassRankingLoss, MaskedRankingLoss
from .samplers import Shuffled, TwoOfEachClass

__all__ = ["STAGES", "ClassRanking", "Ranking", "SimCSE", "Stage", "build_stage"]


class Stage(ABC):
    """One way to train a trunk before the tasks.

    `judge` says which of the two judgements chooses the best checkpoint: the similarity of pairs or the probe of
    classes. `task` is the task whose rows it reads, where it reads a task's.
    """

    judge: ClassVar[str] = "similarity"
    task: str | None = None

    def complaint(self, task: Task) -> str | None:
        """Why this stage cannot read the rows of `task`, or None."""
        return None

    @abstractmethod
    def rows(self, train: Mapping[str, Dataset], texts: Sequence[str]) -> Dataset:
        """What is trained on, in the columns that the loss reads."""

    @abstractmethod
    def sampler(self, rows: Dataset, batch_size: int, *, seed: int) -> DefaultBatchSampler:
        """Its batches; whatever is wrong with rows or batch size is raised here."""

    @abstractmethod
    def loss(self, model: SentenceTransformer, rows: Dataset, *, gather: bool) -> nn.Module:
        """The loss; with `gather` the rows of all processes are negatives."""

    def prepare(self, encoder: SentenceTransformer) -> list[nn.Module]:
        """Make the encoder ready, and give what stands behind it in training alone."""
        return []


@dataclass(frozen=True)
class SimCSE(Stage):
    """Tell each sentence from the others of its batch by its own second look, under another dropout.

    Unsupervised SimCSE (Gao et al., 2021): loss_i = -log(exp(cos(h_i, h'_i) / t) / sum_j exp(cos(h_i, h'_j) / t)) with
    the temperature t. With CLS pooling a dense tanh layer stands behind it in training and only there, as in the paper.
    `dropout` is the trunk's for as long as this stage lasts. With `length` only sentences of more characters are read,
    cut to that many: a length that varies would tell sentences apart by itself.

    >>> SimCSE(length=3).rows({}, ["a cat", "it", "a cab"])["anchor"][:]
    ['a c']
    """

    temperature: float = 0.05
    dropout: float = 0.1
    length: int | None = None

    def __post_init__(self) -> None:
        faults = []
        if self.temperature <= 0:
            faults.append(f"temperature must be above zero. Got {self.temperature:g}.")
        if not 0 < self.dropout < 1:
            faults.append(f"dropout must be above 0 and below 1: it is all that differs. Got {self.dropout:g}.")
        if self.length is not None and self.length < 1:
            faults.append(f"length must be 1 or more, or null. Got {self.length}.")
        if faults:
            raise ValueError(" ".join(faults))

    def rows(self, train: Mapping[str, Dataset], texts: Sequence[str]) -> Dataset:
        if self.length is not None:
            longest = max(map(len, texts))
            texts = list(dict.fromkeys(text[: self.length] for text in texts if len(text) > self.length))
            if not texts:
                raise ValueError(
                    f"No sentence has more than {self.length} characters; the longest has {longest}. Lower the length."
                )
        return Dataset.from_dict({"anchor": texts, "positive": texts})

    def sampler(self, rows: Dataset, batch_size: int, *, seed: int) -> DefaultBatchSampler:
        return Shuffled(len(rows), batch_size, seed=seed)

    def loss(self, model: SentenceTransformer, rows: Dataset, *, gather: bool) -> nn.Module:
        # Its two columns go through the model one after the other, and dropout falls differently on each.
        return MultipleNegativesRankingLoss(model, scale=1 / self.temperature, gather_across_devices=gather)

    def prepare(self, encoder: SentenceTransformer) -> list[nn.Module]:
        droppers = {name: module for name, module in encoder.named_modules() if isinstance(module, nn.Dropout)}
        if not droppers:
            raise ValueError("SimCSE lives by dropout, and this trunk has no such layers. Take BERT or one like it.")
        for name, module in droppers.items():
            if not is_adapter(name, [ADAPTER]):
                module.p = self.dropout
        pooling: Any = encoder[1]
        return [TrainingHead(pooling.pooling_output_dimension)] if pooling.pooling_mode == "cls" else []


@dataclass(frozen=True)
class ClassRanking(Stage):
    """Draw sentences of a class together and those of different classes apart.

    From *Jack of All Trades, Master of Some* (section 3.4), after Henderson et al. (2017): groups of two sentences of
    each of the K classes, a K x K similarity times `scale`, cross-entropy towards its diagonal. Any task of single
    texts with classes will do.
    """

    judge = "probe"
    task: str = "sst"
    scale: float = 20.0

    def __post_init__(self) -> None:
        check_scale(self.scale)

    def complaint(self, task: Task) -> str | None:
        if task.pair:
            return f"ClassRanking reads single texts, and '{task.name}' has two a row. Ranking reads pairs."
        if not task.objective.labels:
            return f"ClassRanking needs classes, and '{task.name}' has numbers."
        return None

    def rows(self, train: Mapping[str, Dataset], texts: Sequence[str]) -> Dataset:
        """Every different sentence once; one that was given two classes would be its own negative, and is left out."""
        found: dict[str, set[int]] = {}
        table = train[self.task]
        for text, label in zip(table["first"][:], table["label"][:], strict=True):
            found.setdefault(text, set()).add(label)
        kept = {text: labels.pop() for text, labels in found.items() if len(labels) == 1}
        return Dataset.from_dict({"sentence": list(kept), "label": list(kept.values())})

    def sampler(self, rows: Dataset, batch_size: int, *, seed: int) -> DefaultBatchSampler:
        try:
            return TwoOfEachClass(rows["label"][:], batch_size, seed=seed)
        except ValueError as error:
            raise ValueError(f"Task '{self.task}': {error}") from error

    def loss(self, model: SentenceTransformer, rows: Dataset, *, gather: bool) -> nn.Module:
        # Each group is whole in one process, so there is nothing to gather.
        return ClassRankingLoss(model, len(set(rows["label"][:])), scale=self.scale)


@dataclass(frozen=True)
class Ranking(Stage):
    """Tell each text's paraphrase from those of the other texts in the batch.

    Multiple negatives ranking (Henderson et al., 2017) on the pairs that a task calls duplicates. Texts that a chain of
    duplicates connects are no negatives of each other.
    """

    task: str = "qqp"
    scale: float = 20.0

    def __post_init__(self) -> None:
        check_scale(self.scale)

    def complaint(self, task: Task) -> str | None:
        if task.pair and isinstance(task.objective, Binary):
            return None
        return f"Ranking reads pairs that are duplicates or not, under the objective Binary. '{task.name}' has none."

    def rows(self, train: Mapping[str, Dataset], texts: Sequence[str]) -> Dataset:
        """Pairs of different texts; the label is the set of connected texts that a pair is of."""
        table = train[self.task]
        sides = zip(table["first"][:], table["second"][:], table["label"][:], strict=True)
        found = list(dict.fromkeys((first, second) for first, second, label in sides if label and first != second))
        if not found:
            raise ValueError(f"Task '{self.task}' has no pair that is a duplicate, which Ranking learns from.")
        number = {text: i for i, text in enumerate(dict.fromkeys(text for pair in found for text in pair))}
        one, other = (np.array([number[pair[side]] for pair in found]) for side in (0, 1))
        links = sparse.coo_matrix((np.ones(len(found)), (one, other)), shape=(len(number), len(number)))
        _, component = connected_components(links, directed=False)
        anchors, positives = zip(*found, strict=True)
        return Dataset.from_dict({"anchor": anchors, "positive": positives, "label": component[one]})

    def sampler(self, rows: Dataset, batch_size: int, *, seed: int) -> DefaultBatchSampler:
        return Shuffled(len(rows), batch_size, seed=seed)

    def loss(self, model: SentenceTransformer, rows: Dataset, *, gather: bool) -> nn.Module:
        return MaskedRankingLoss(model, scale=self.scale, gather_across_devices=gather)


STAGES: dict[str, Any] = {stage.__name__: stage for stage in (ClassRanking, Ranking, SimCSE)}


def build_stage(spec: dict[str, Any]) -> Stage:
    """The first stage that a description such as `{"class": "SimCSE", "temperature": 0.05}` names."""
    return construct("objective", STAGES, spec)


def check_scale(scale: float) -> None:
    if scale <= 0:
        raise ValueError(f"scale must be above zero. Got {scale:g}.")
