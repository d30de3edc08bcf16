"""What is measured on: a model of a given shape, batches of real lengths, and a whole training step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn

from ..data.encoded import Collator, EncodedTask
from ..data.sampler import Share, bucket
from ..models.configuration_minbert import MinBertConfig
from ..models.configuration_multitask import MultitaskConfig
from ..models.modeling_multitask import MultitaskModel
from ..tasks import QQP, SST, STS
from ..training.memory import keep

__all__ = ["Workload"]

# The mean and the spread of log(tokens) of the course's training rows, pairs in one sequence, cased as BERT uncased.
LENGTHS = {"sst": (3.10, 0.51), "qqp": (3.35, 0.36), "sts": (3.25, 0.43)}
LONGEST = 128
EPOCH = 128
"""Batches that the measured ones are taken from: the more rows there are, the nearer are a batch's lengths."""

TASKS = {task.name: task for task in (SST, QQP, STS)}


def found_device() -> str:
    """The accelerator of this machine: torch names the one that it was built for, whether it is there or not."""
    return str(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else "cpu"


@dataclass(frozen=True)
class Workload:
    """Training steps of the three core tasks on a trunk of `layers` x `width`, `rows` rows of each task in a step.

    The ids are drawn at random, the lengths as long as real sentences are, and rows of near lengths share a batch as
    they do in training.
    """

    layers: int = 6
    width: int = 384
    rows: int = 32
    # Odd, so that what happens in every fourth step meets each of them.
    batches: int = 7
    bf16: bool = False
    vocabulary: int = 30522
    seed: int = 0
    device: str = field(default_factory=found_device)

    @property
    def name(self) -> str:
        return f"{self.layers}x{self.width}, {'bfloat16' if self.bf16 else 'float32'}"

    @property
    def shape(self) -> dict[str, Any]:
        """The trunk's, as fields of `BertConfig`."""
        return {
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": 12,
            "intermediate_size": 4 * self.width,
        }

    def model(self, **options: Any) -> MultitaskModel:
        """A new model, the same at each call; `options` are fields of `MultitaskConfig`."""
        torch.manual_seed(self.seed)
        tasks = {name: task.describe() for name, task in TASKS.items()}
        model = MultitaskModel(MultitaskConfig(trunk=MinBertConfig(**self.shape), tasks=tasks, **options))
        return self.placed(model)

    def placed(self, model: MultitaskModel) -> MultitaskModel:
        """A model on the device, for training."""
        module: nn.Module = model
        module.to(self.device)
        model.train()
        return model

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        """The batches, each with rows of every task."""
        draw = np.random.default_rng(self.seed)
        tasks, dealt = {}, {}
        for name, (mean, spread) in LENGTHS.items():
            lengths = np.clip(draw.lognormal(mean, spread, self.rows * EPOCH), 5, LONGEST).astype(int)
            ids = [draw.integers(1000, self.vocabulary, length).astype(np.int32) for length in lengths]
            labels = draw.integers(0, 2, len(lengths)).astype(np.float32 if name == "sts" else np.int64)
            tasks[name] = EncodedTask(Dataset.from_dict({"ids_0": ids, "label": labels}))
            dealt[name] = bucket(np.arange(len(lengths)), lengths, self.rows, window=16, shuffle=draw)
        weights = np.full(self.rows, 1 / self.rows, np.float32)
        return [
            self.moved(Collator()([(Share(name, dealt[name][i], weights), tasks[name]) for name in tasks]))
            for i in range(self.batches)
        ]

    def moved(self, batch: Any) -> Any:
        if isinstance(batch, Tensor):
            return batch.to(self.device)
        return {key: self.moved(value) for key, value in batch.items()} if isinstance(batch, dict) else batch

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.bf16)

    def training(
        self,
        model: MultitaskModel,
        backward: Callable[[Mapping[str, Any]], None] | None = None,
        *,
        batches: Sequence[Mapping[str, Any]] | None = None,
    ) -> Callable[[int], None]:
        """A whole step: the loss forward and back, clipping, and AdamW; `backward` may stand for the first two."""
        given = self.steps if batches is None else batches
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)

        def plain(batch: Mapping[str, Any]) -> None:
            with self.autocast():
                loss = model(**batch).loss
            loss.backward()

        def step(i: int) -> None:
            # As in a training of ours, which lets go of it at its end.
            keep()
            (backward or plain)(given[i % len(given)])
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()

        return step
