"""What every member of an ensemble says on labelled rows: asked once, kept in files."""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..evaluation.answers import Answers, load_answers
from ..metrics import METRICS
from ..models.combiners import Combiner, Mean, Vote
from ..models.configuration_ensemble import EnsembleConfig
from ..models.encoding import Texts
from ..models.members import spelled
from ..models.modeling_ensemble import EnsembleModel, read_config
from ..models.modeling_multitask import MultitaskModel
from ..models.objectives import Objective, Prediction, build_objective

__all__ = ["Ballot", "Recorded", "collect", "texts_of"]

IDLE = {"architectures", "auto_map", "custom_pipelines", "dtype", "transformers_version"}
"""What a configuration tells and no answer depends on; the type of weights is theirs to tell."""


@dataclass(frozen=True)
class Ballot:
    """What the members say on the labelled rows of one task: scores [members, rows, outputs] and labels [rows].

    `seconds` [members] is how long each took to say it. Who does not know the task has scores of zero. In `fair_scores`
    a member that was itself chosen by these very rows says of each half what was chosen on the other; of those whose
    numbers are `unfair` it is not known.
    """

    task: dict[str, Any]
    scores: Tensor
    labels: np.ndarray
    knowing: tuple[bool, ...]
    seconds: tuple[float, ...] = ()
    fair_scores: Tensor | None = None
    unfair: tuple[int, ...] = ()

    @property
    def objective(self) -> Objective:
        return build_objective(self.task["objective"])

    @property
    def able(self) -> list[int]:
        """The numbers of the members that know the task."""
        return [number for number, knows in enumerate(self.knowing) if knows]

    def fairly(self) -> "Ballot":
        """What the members say of rows by which none of them was chosen."""
        return self if self.fair_scores is None else replace(self, scores=self.fair_scores, fair_scores=None)

    def rows(self, chosen: np.ndarray) -> "Ballot":
        """Some rows alone."""
        places = torch.from_numpy(chosen)
        fair = None if self.fair_scores is None else self.fair_scores[:, places]
        return replace(self, scores=self.scores[:, places], labels=self.labels[chosen], fair_scores=fair)

    def join(self, combiner: Combiner) -> Tensor:
        """The scores [rows, outputs] that a combiner makes."""
        weights = combiner.weigh(self.knowing)
        asked = weights > 0
        return combiner.join(self.scores[asked], weights[asked], self.objective)

    def values(self, scores: Tensor) -> np.ndarray:
        """The label ids or numbers [rows] that scores mean."""
        return self.objective.decode(scores).values.numpy()

    def levelled(self, scores: Tensor, like: Tensor) -> Tensor:
        """Scores whose numbers have the mean and the spread of those of others; classes as they are."""
        if self.objective.labels:
            return scores
        answers, others = self.objective.answers(scores), self.objective.answers(like)
        spread, wanted = answers.std(), others.std()
        if not (spread > 0 and wanted > 0):
            return scores
        return self.objective.scores_of((answers - answers.mean()) * (wanted / spread) + others.mean())

    def measure(self, combiner: Combiner) -> float:
        """The task's own metric of what a combiner makes."""
        return self.judge(self.values(self.join(combiner)))

    def judge(self, values: np.ndarray) -> float:
        classes = len(self.objective.labels or ()) or None
        return METRICS[self.task["metric"]].measure(values, self.labels, classes=classes)


@dataclass(frozen=True)
class Recorded:
    """Scores [rows, outputs] of each task, where the evaluator expects what makes them."""

    tasks: dict[str, dict[str, Any]]
    scores: Mapping[str, Tensor]

    def predict(self, task: str, first: list[str], second: list[str] | None = None, /) -> Prediction:
        return build_objective(self.tasks[task]["objective"]).decode(self.scores[task])


def texts_of(task: Mapping[str, Any], rows: Dataset) -> Texts:
    """The texts that a task reads."""
    plain = rows.with_format(None)
    return Texts(plain["first"][:], plain["second"][:] if task["pair"] else None)


def collect(
    ensemble: EnsembleModel, rows: Mapping[str, Dataset], *, cache: str | Path | None = None, batch_size: int = 64
) -> dict[str, Ballot]:
    """The ballot of each task. What is found in the folder `cache` is not asked again, and what is not is put there.

    A member's scores are known again by what it is in memory, and by the texts.
    """
    folder = None if cache is None else Path(cache)
    left = [{} if source.folder is None else load_answers(source.folder) for source in ensemble.sources]
    names = [name_of(ensemble, number, folder) for number in range(len(ensemble.sources))]
    ballots = {}
    for task, data in rows.items():
        knowing, outputs = ensemble.config.knowing(task), ensemble.config.objective(task).outputs
        question = Question(task, texts_of(ensemble.tasks[task], data), folder, batch_size)
        found = [
            question.ask(ensemble, number, name)
            if knows
            else (torch.zeros(len(data), outputs, dtype=torch.float64), 0.0)
            for number, (name, knows) in enumerate(zip(names, knowing, strict=True))
        ]
        labels = np.asarray(data.with_format(None)["label"][:])
        scores, seconds = zip(*found, strict=True)
        ballot = Ballot(ensemble.tasks[task], torch.stack(list(scores)), labels, tuple(knowing), seconds)
        ballots[task] = with_fair(ballot, ensemble, task, [answers.get(task) for answers in left])
    return ballots


def with_fair(ballot: Ballot, ensemble: EnsembleModel, task: str, left: Sequence[Answers | None]) -> Ballot:
    """A ballot with what those of the members say cross-fitted whose folders have `left` answers to the same rows."""
    fair, unfair = dict[int, Tensor](), list[int]()
    for number in ballot.able:
        config, kept = config_of(ensemble, number), left[number]
        if kept is not None and kept.fair_scores is not None and np.array_equal(kept.labels, ballot.labels):
            fair[number] = ensemble.heard(task, config, torch.from_numpy(kept.fair_scores))
        elif isinstance(config, EnsembleConfig) and chosen(config, task):
            unfair.append(number)
    scores = [fair.get(number, said) for number, said in enumerate(ballot.scores)] if fair else None
    return replace(ballot, fair_scores=None if scores is None else torch.stack(scores), unfair=tuple(unfair))


def config_of(ensemble: EnsembleModel, number: int) -> Any:
    """The configuration of a member, which is not read for that."""
    return ensemble.members[number].config if len(ensemble.members) else read_config(ensemble.sources[number], number)


def chosen(config: EnsembleConfig, task: str) -> bool:
    """Whether some rows may have chosen how an ensemble answers: all but a mean or a vote is fitted to something."""
    return type(config.combiner(task)) not in (Mean, Vote) or task in config.temperatures


@dataclass(frozen=True)
class Question:
    """A task's texts, for members to answer; what they say is kept in the folder `cache`."""

    task: str
    texts: Texts
    cache: Path | None
    batch_size: int

    def ask(self, ensemble: EnsembleModel, number: int, name: str | None) -> tuple[Tensor, float]:
        """What a member says, in terms of the ensemble's objective, and the seconds it took to say it.

        `name` is the member's hash. A member that is an ensemble itself joins what its own members say, one of whom may
        have said it before, to another ensemble.
        """
        file = self.file(name, ensemble.config.objective(self.task))
        if file and file.is_file():
            return read_scores(file)
        member = ensemble.member(number)
        if isinstance(member, EnsembleModel):
            answers = [self.ask(member, each, name_of(member, each, self.cache)) for each in member.asked(self.task)]
            scores = member.joined(self.task, torch.stack([said for said, _ in answers]))
            seconds = sum(taken for _, taken in answers)
        else:
            start = time.perf_counter()
            scores = member.answer(self.task, self.texts, batch_size=self.batch_size)
            seconds = time.perf_counter() - start
        said = ensemble.heard(self.task, member, scores)
        if file:
            write_scores(file, said, seconds)
        return said, seconds

    def file(self, name: str | None, objective: Objective) -> Path | None:
        if self.cache is None or name is None:
            return None
        asked = hashed([self.task, objective.describe(), self.read])
        return self.cache / f"{name[:20]}-{asked[:20]}.safetensors"

    @cached_property
    def read(self) -> str:
        """A hash of the texts."""
        return hashed([list(self.texts.first), list(self.texts.second or ())])


def name_of(ensemble: EnsembleModel, number: int, cache: Path | None) -> str | None:
    """Under which a member's answers are kept, if they are."""
    return None if cache is None else digest_of(ensemble.member(number))


def digest_of(model: Any) -> str:
    """A hash of all that decides a model's answers: its weights and their type, what it answers, and how it reads."""
    weights = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        weights.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        weights.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    readers = [spelled(part.tokenizer) for part in model.modules() if isinstance(part, MultitaskModel)]
    return hashed([weights.hexdigest(), told(model.config.to_dict()), readers])


def told(config: Any) -> Any:
    """A configuration without what changes no answer."""
    if isinstance(config, dict):
        return {str(key): told(part) for key, part in config.items() if key not in IDLE and str(key)[:1] != "_"}
    return [told(part) for part in config] if isinstance(config, list | tuple) else config


def hashed(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def read_scores(file: Path) -> tuple[Tensor, float]:
    with safe_open(file, framework="pt") as stream:
        return stream.get_tensor("scores"), float(stream.metadata()["seconds"])


def write_scores(file: Path, scores: Tensor, seconds: float) -> None:
    """Aside first, so that nobody ever reads half of them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    save_file({"scores": scores}, aside, metadata={"seconds": str(seconds)})
    os.replace(aside, file)
