"""The penalties of a run: the host of the regularizers."""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DynamoBackend
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

from ..models.batch import Batch
from ..models.modeling_multitask import MultitaskModel
from ..models.replay import Replay
from ..regularizers import Follower, Regularizer
from ..regularizers.noise import uniform
from ..regularizers.regularizer import Rows
from .backends import backend_of
from .curves import Curves

__all__ = ["Penalties"]

logger = logging.getLogger(__name__)

FILE = "regularizers.safetensors"
EARLY, FAINT = 100, 1e-3
"""A penalty that is a smaller share of its task's loss in so many first steps is hardly there."""


class Penalties(TrainerCallback):
    """Gives each task of a step its penalty, within the model's own pass, and keeps the regularizers' state.

    A task's penalty is the sum of its rows' divergences times their weights, as its loss is, so that processes and
    micro-steps make no difference. A regularizer of weight zero is left out from the start.
    """

    def __init__(
        self,
        regularizers: Sequence[Regularizer],
        model: MultitaskModel,
        *,
        tasks: Sequence[str],
        accelerator: Accelerator,
        seed: int,
    ):
        if faults := misfits(regularizers, model, accelerator):
            raise ValueError(" ".join(faults))
        self.members = {member.key: member for member in regularizers if member.weight}
        self.model, self.tasks, self.accelerator, self.seed = model, list(tasks), accelerator, seed
        self.followers = [member for member in self.members.values() if isinstance(member, Follower)]
        self.step = 0
        # Tasks that are in a pass and not in its step.
        self.idle: Sequence[str] = ()
        self.checkpoint: Path | None = None
        self.found: list[Callable[..., None]] = []
        # Sums of what was logged while training was young; None when it has been judged.
        self.young: dict[str, float] | None = defaultdict(float)
        for member in self.members.values():
            self.warn(member.doubt(accelerator.mixed_precision))

    @property
    def curves(self) -> list[str]:
        """The names of all learning curves: each task's penalties, and what else the regularizers measure."""
        return [f"{key}_{name}" for key, member in self.members.items() for name in (*self.tasks, *member.measures)]

    @property
    def due(self) -> bool:
        """Whether the current step has any."""
        return any(map(self.acts, self.members.values()))

    def acts(self, member: Regularizer) -> bool:
        """Whether this is the step that chance chose of so many as the regularizer leaves out and one more.

        Were it the first of them, tasks that take turns would always meet it, or never.
        """
        block, place = divmod(self.step, member.every)
        return place == np.random.default_rng([self.seed, block]).integers(member.every)

    @torch.compiler.disable
    def __call__(self, replay: Replay, scores: Rows, weights: Rows) -> dict[str, Tensor]:
        """The penalty of each task in a pass, given its scores [n, outputs] and the weights of its rows [n]."""
        penalties: dict[str, Tensor] = {}
        for member in self.members.values():
            if self.acts(member):
                for name, penalty in self.apply(member, replay, scores, weights).items():
                    penalties[name] = penalties[name] + penalty if name in penalties else penalty
        return penalties

    def apply(self, member: Regularizer, replay: Replay, scores: Rows, weights: Rows) -> dict[str, Tensor]:
        """What one regularizer adds to each task's loss."""
        if member.fraction < 1:
            replay, scores, weights = self.part(member, replay, scores, weights)
        rows, measured = member(replay, scores, seed=self.seed, step=self.step)
        factor = member.weight * member.every
        penalties = {name: (found * weights[name]).sum() * factor for name, found in rows.items()}
        for name, penalty in penalties.items():
            if name in self.idle:
                continue
            said = partial(self.said, member, replay.batch, name, rows[name].detach())
            # It stands for the steps without one too.
            self.note(f"{member.key}_{name}", penalty, member.every, said)
        for measure, tasks in measured.items():
            for name, found in tasks.items():
                said = partial("{} of {}".format, measure, member.name)
                self.note(f"{member.key}_{measure}", (found * weights[name]).sum(), weights[name].sum(), said)
        return penalties

    def part(self, member: Regularizer, replay: Replay, scores: Rows, weights: Rows) -> tuple[Replay, Rows, Rows]:
        """A pass of a share of the rows, their scores and weights: each row is drawn by what it says."""
        drawn = uniform(replay.batch, seed=self.seed, step=self.step)
        kept, shares = {}, {}
        for name, rows in replay.batch.rows.items():
            lot = drawn[rows if rows.dim() == 1 else rows[:, 0]]
            chosen = (lot < member.fraction).nonzero().flatten()
            # One row at least, if only with weight zero: every process must make the same passes.
            kept[name] = chosen if len(chosen) else lot.argmin()[None]
            shares[name] = weights[name][kept[name]] * (lot[kept[name]] < member.fraction) / member.fraction
        smaller = Replay(replay.model, replay.batch.part(kept))
        if member.repeats:
            return smaller, smaller.first(), shares
        return smaller, {name: scores[name][numbers] for name, numbers in kept.items()}, shares

    def note(self, name: str, total: Tensor, number: Tensor | float, said: Callable[[], str]) -> None:
        self.found.append(partial(Curves.add, name=name, total=total.detach(), number=number, said=said))

    def said(self, member: Regularizer, batch: Batch, task: str, rows: Tensor) -> str:
        """A penalty in words, with the texts of a row whose divergence is no number."""
        wrong = (~rows.isfinite()).nonzero().flatten().tolist()
        if not wrong:
            return f"{member.name}'s penalty of {task}"
        ids = batch.input_ids.split(batch.packing.lengths.tolist())
        texts = [str(self.model.tokenizer.decode(ids[i])) for i in batch.rows[task][wrong[0]].flatten().tolist()]
        return f"{member.name}'s penalty of {task}, in {len(wrong)} of {len(rows)} rows such as {' | '.join(texts)!r},"

    def record(self, curves: Curves) -> None:
        """Add to the learning curves what came up since the last time."""
        for add in self.found:
            add(curves, step=self.step + 1)
        self.found = []

    def judge(self, logs: dict[str, float], step: int) -> None:
        """Say once, from what is logged, which penalties are too small to matter."""
        if self.young is None:
            return
        for name, mean in logs.items():
            self.young[name] += mean
        if step < EARLY:
            return
        for key, member in self.members.items():
            sizes = {name: (self.young[f"{key}_{name}"], self.young[f"loss_{name}"]) for name in self.tasks}
            if faint := [name for name, (penalty, loss) in sizes.items() if penalty < FAINT * loss]:
                self.warn(
                    f"{member.name}'s penalty of {', '.join(faint)} was below a thousandth of the loss in the first "
                    f"{step} steps: it hardly touches training. Raise its {member.levers}, or do without it."
                )
        self.young = None

    def warn(self, text: str | None) -> None:
        if text and self.accelerator.is_main_process:
            logger.warning(text)

    def start(self, checkpoint: str | bool | None) -> None:
        """Training is to begin anew, or from a checkpoint: say what is different from the run that left it."""
        self.checkpoint = Path(checkpoint) if isinstance(checkpoint, str) else None
        self.step, self.found, self.young = 0, [], defaultdict(float)
        if self.checkpoint is not None:
            now = [member.describe() for member in self.members.values()]
            if changes := differences(described(self.checkpoint), now):
                self.warn(f"The regularizers are not those of the run that left {checkpoint}. {' '.join(changes)}")

    def save(self, folder: Path) -> None:
        """Put the regularizers and their state beside a checkpoint's other files."""
        if self.members:
            about = json.dumps([member.describe() for member in self.members.values()])
            states = {f"{member.key}.{n}": weight for member in self.followers for n, weight in member.state().items()}
            save_file(states, folder / FILE, metadata={"regularizers": about})

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # A search over settings makes a new model for each trial.
        self.model = kwargs["model"]
        self.young = None if state.global_step >= EARLY else self.young
        for member in self.followers:
            member.begin(self.model)
            if self.checkpoint and member.name in [spec["class"] for spec in described(self.checkpoint)]:
                kept = load_file(self.checkpoint / FILE)
                own = f"{member.key}."
                member.restore({n.removeprefix(own): weight for n, weight in kept.items() if n.startswith(own)})

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.step = state.global_step

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.accelerator.optimizer_step_was_skipped:
            for member in self.followers:
                member.follow(self.model, update=state.global_step + 1, updates=state.max_steps)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            for member in self.followers:
                member.finish(self.model, Path(args.output_dir))


def described(checkpoint: Path) -> list[dict[str, Any]]:
    """The regularizers of the run that left a checkpoint."""
    if not (checkpoint / FILE).is_file():
        return []
    with safe_open(checkpoint / FILE, "pt") as file:
        return json.loads(file.metadata()["regularizers"])


def differences(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    """What resuming with other regularizers means, a sentence for each difference."""
    old, new = ({spec["class"]: spec for spec in specs} for specs in (before, now))
    said = [f"{name} is new: it begins now, from the checkpoint's weights." for name in new.keys() - old.keys()]
    said += [f"{name} is gone: training goes on without it." for name in old.keys() - new.keys()]
    for name in old.keys() & new.keys():
        changed = [key for key in new[name] if old[name].get(key) != new[name][key]]
        said += [f"{key} of {name} was {old[name].get(key)}, and is {new[name][key]}." for key in changed]
    return sorted(said)


def misfits(regularizers: Sequence[Regularizer], model: MultitaskModel, accelerator: Accelerator) -> list[str]:
    """Why the regularizers cannot work here."""
    counts, backend = Counter(member.name for member in regularizers), backend_of(accelerator)
    found = [f"Regularizer {name} is there {count} times." for name, count in counts.items() if count > 1]
    if regularizers and not isinstance(model.get_input_embeddings(), nn.Embedding):
        found.append(
            "Regularizers read the word embeddings apart from the trunk, and here an adapter sits on them. "
            "Leave the embeddings out of the tuner's target_modules."
        )
    for member in regularizers:
        if member.repeats and accelerator.state.dynamo_plugin.backend != DynamoBackend.NO:
            found.append(
                f"{member.name} repeats the model's own dropout, and what torch_compile makes of the model draws in "
                "another way. Set the regularizer's dropout to off, or torch_compile to false."
            )
        if member.climbs and backend == "FSDP":
            found.append(
                f"{member.name} goes backwards within the model's pass forward, and FSDP puts the weights away after "
                "every pass backwards. Launch with plain DDP or with ZeRO-1, 2 or 3, or leave it out."
            )
        if isinstance(member, Follower) and backend in ("ZeRO-3", "FSDP"):
            found.append(
                f"{member.name} averages the weights, of which each process has only a part here. "
                "Launch with plain DDP or with ZeRO-1 or 2, or leave it out."
            )
    return found
