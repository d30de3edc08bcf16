"""The recipe of an ensemble: which settings there are, and what each may be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Literal

from ..ensembles.ballots import Ballot
from ..ensembles.selection import best_per_task, champions, greedy, threshold, tuned
from ..models.combiners import Combiner, Mean, Over, Vote, Weighted
from ..schema import RecipeError
from .parts import DataSection, Source, misnamed

__all__ = ["EnsembleRecipe"]

NEEDS = {"student": "distill", "bars": "threshold"}
ONLY = {
    "prior": ("mean", "vote", "greedy", "soup"),
    "soup": ("soup",),
    "trust": ("distill",),
    "over": ("mean", "weighted", "threshold", "greedy", "champions", "vote", "distill"),
}
"""Settings that other rules would ignore."""


@dataclass
class EnsembleRecipe:
    """Make one model of several by a rule, and judge it on dev beside the best of them.

    Rules:
      mean       the mean of all members
      weighted   the mean by weights that Optuna finds for each task
      vote       the label with the most votes; numbers are averaged
      threshold  the mean of the members that reach the task's bar
      greedy     the mean of members, kept from the best on while they do not make it worse
      route      for each task the member that is best at it
      champions  for each task the mean of all members that are best at some task
      soup       one model whose weights are the mean of the members', kept as by greedy or all of them
      distill    one student that learns what the mean of all members says of the training rows

    Examples:
      python recipes/ensemble.py --members outputs/a,outputs/b,outputs/c --rule mean --data_dir data
      python recipes/ensemble.py --members outputs/a,outputs/b --rule weighted --calibrate --output_dir outputs/both
      python recipes/ensemble.py --members outputs/both --rule distill --student recipes/configs/real.yaml
    """

    members: list[str] = field(metadata={"help": "Folders, or names on the Hub, each with @revision if need be"})
    rule: Literal["mean", "weighted", "vote", "threshold", "greedy", "route", "champions", "soup", "distill"] = field(
        default="mean", metadata={"help": "How several become one: see Rules below"}
    )
    output_dir: str = field(default="outputs/ensemble", metadata={"help": "Folder of the model and the report"})
    overwrite: bool = field(default=False, metadata={"help": "Write into output_dir though something is there"})
    seed: int = field(default=0, metadata={"help": "Decides every random draw"})
    over: Over = field(default="probabilities", metadata={"help": "What is averaged: probabilities or logits"})
    prior: list[float] | None = field(
        default=None,
        metadata={"help": "How much each member counts in mean, vote, greedy and soup; null: all the same"},
    )
    trials: int = field(default=200, metadata={"help": "How many weights rule weighted tries for each task"})
    bars: dict[str, float] = field(
        default_factory=dict, metadata={"help": "The metric that rule threshold asks for: {sst: 0.5, sts: 0.85}"}
    )
    soup: Literal["greedy", "uniform"] = field(
        default="greedy", metadata={"help": "Which members rule soup takes: greedy or uniform, which is all"}
    )
    student: str | None = field(
        default=None,
        metadata={"help": "A recipe of train.py, by which rule distill trains its student, on rows as `data` says"},
    )
    trust: float = field(
        default=1.0,
        metadata={"help": "How much of what a student learns are answers; the rest is labels"},
    )
    calibrate: bool = field(default=False, metadata={"help": "Fit a temperature for each task with classes"})
    one_at_a_time: bool = field(
        default=False, metadata={"help": "Hold one member in memory at a time; rule soup holds all"}
    )
    batch_size: int = field(default=64, metadata={"help": "Rows of a batch"})
    cache: str | None = field(
        default="outputs/answers", metadata={"help": "Folder of what members have said before; null: ask them again"}
    )
    data: DataSection = field(default_factory=DataSection)
    sources: dict[str, Source] = field(
        default_factory=dict,
        metadata={"help": "Sources of single tasks; what is not said, members (or the student) say"},
    )

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be 1 or more. Got {vars(self)[name]}."
            for name in ("trials", "batch_size")
            if vars(self)[name] < 1
        ]
        if self.data.stream:
            faults.append("data.stream is for train.py: a rule asks its members of every row.")
        if not self.members:
            faults.append("members is empty. Name the folders of one model or more.")
        inside = [name for name in self.members if Path(name).resolve().is_relative_to(Path(self.output_dir).resolve())]
        if inside:
            faults.append(f"The member {inside[0]} lies in output_dir, which is written anew. Give another output_dir.")
        if self.prior is not None and len(self.prior) != len(self.members):
            faults.append(f"prior needs a number for each of {len(self.members)} members. Got {len(self.prior)}.")
        if self.prior is not None and (min(self.prior, default=0) < 0 or not sum(self.prior)):
            faults.append(f"prior is zero or more for each member, and not zero for all. Got {self.prior}.")
        if not 0 <= self.trust <= 1:
            faults.append(f"trust must be between 0 and 1. Got {self.trust:g}.")
        usual = {part.name: part.default for part in fields(self)}
        for name, rules in ONLY.items():
            if vars(self)[name] != usual[name] and self.rule not in rules:
                faults.append(f"{name} is for rule {', '.join(rules)}, and changes nothing in {self.rule}.")
        for name, rule in NEEDS.items():
            if bool(vars(self)[name]) != (self.rule == rule):
                faults.append(f"{name} and rule {rule} go together. Give both or neither.")
        if faults:
            raise RecipeError(faults)

    def check_tasks(self, knowing: Mapping[str, Sequence[bool]]) -> None:
        """Raise where something is said of a task that no member knows, or nobody counts who knows one."""
        faults = misnamed({"bars": self.bars, "sources": self.sources}, knowing) + self.data.misnamed(knowing)
        for name, able in knowing.items():
            prior = [1.0] * len(able) if self.prior is None else self.prior
            if not any(count for count, knows in zip(prior, able, strict=True) if knows):
                knowers = ", ".join(member for member, knows in zip(self.members, able, strict=True) if knows)
                faults.append(f"prior is zero for all who know '{name}': {knowers}. Give one of them more.")
        if faults:
            raise RecipeError(faults)

    def choose(self, ballots: Mapping[str, Ballot]) -> dict[str, Combiner]:
        """Each task's combiner, by what the members say."""
        if self.rule == "champions":
            return champions(ballots, over=self.over)
        return {name: self.choosing(name)(ballot) for name, ballot in ballots.items()}

    def choosing(self, task: str) -> Callable[[Ballot], Combiner]:
        """What chooses a task's combiner by what the members say of it alone."""
        if self.rule == "threshold":
            return partial(threshold, bar=self.bars.get(task, -1.0), over=self.over)
        if self.rule == "vote":
            return self.vote
        rules: dict[str, Callable[[Ballot], Combiner]] = {
            "mean": self.mean,
            "weighted": partial(tuned, trials=self.trials, seed=self.seed, over=self.over),
            "greedy": partial(greedy, prior=self.prior, over=self.over),
            "route": best_per_task,
        }
        return rules[self.rule]

    def mean(self, ballot: Ballot) -> Combiner:
        return Mean(self.over) if self.prior is None else Weighted(self.prior, self.over)

    def vote(self, ballot: Ballot) -> Combiner:
        return Vote(self.prior) if ballot.objective.labels else self.mean(ballot)
