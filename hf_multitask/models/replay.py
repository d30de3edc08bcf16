"""A pass of the model again, with the same random draws."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .batch import Batch
from .dropout import Draws

if TYPE_CHECKING:
    from .modeling_multitask import MultitaskModel

__all__ = ["Replay"]


class Replay:
    """Made before a pass, it repeats it: dropout leaves out what it left out then, and later draws go on undisturbed.

    >>> from hf_multitask import SST, MinBertConfig, MultitaskConfig, MultitaskModel
    >>> small = MinBertConfig(hidden_size=24, intermediate_size=48, num_hidden_layers=1)
    >>> model = MultitaskModel(MultitaskConfig(trunk=small, tasks={"sst": SST.describe()})).train()
    >>> batch = Batch.of(torch.tensor([101, 2307, 102]), torch.tensor([3]), 3, {"sst": torch.tensor([0])})
    >>> replay = Replay(model, batch)
    >>> torch.equal(model.read(replay.batch)["sst"], replay()["sst"])
    True
    """

    def __init__(self, model: "MultitaskModel", batch: Batch):
        self.model, self.batch = model, batch
        self.device = batch.input_ids.device
        self.draws = Draws()
        self.state = torch.get_rng_state()
        self.device_state = None if self.device.type == "cpu" else self.module.get_rng_state(self.device)

    @cached_property
    def words(self) -> Tensor:
        """The batch's word embeddings [tokens, width], looked up once for all passes."""
        return self.model.get_input_embeddings()(self.batch.input_ids)

    @property
    def module(self) -> Any:
        return torch.get_device_module(self.device)

    def first(self) -> dict[str, Tensor]:
        """The scores by task of the pass itself; what it leaves out need not be drawn again."""
        with self.draws.kept():
            return self.model.read(self.batch, self.words)

    def __call__(self, words: Tensor | None = None) -> dict[str, Tensor]:
        """The scores by task, `words` [tokens, width] in place of the batch's word embeddings."""
        with self.rewound(), self.draws.again():
            return self.model.read(self.batch, words)

    @contextmanager
    def rewound(self) -> Iterator[None]:
        """The random draws begin where they began when this was made, and afterwards are where they were."""
        now = torch.get_rng_state()
        there = None if self.device_state is None else self.module.get_rng_state(self.device)
        self.wind(self.state, self.device_state)
        try:
            yield
        finally:
            self.wind(now, there)

    def wind(self, state: Tensor, device_state: Tensor | None) -> None:
        torch.set_rng_state(state)
        if device_state is not None:
            self.module.set_rng_state(device_state, self.device)
