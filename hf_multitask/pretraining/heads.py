"""A layer that training sees and nobody else."""

from typing import Any

from torch import Tensor, nn

__all__ = ["TrainingHead"]


class TrainingHead(nn.Module):
    """tanh(W h + b) behind a pooled row in training; outside of it the row passes as it is.

    SimCSE's (Gao et al., 2021, section 6.3): the head takes upon itself what the contrast needs and the vectors do not.
    """

    def __init__(self, width: int):
        super().__init__()
        self.dense = nn.Linear(width, width)
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        if self.training:
            features["sentence_embedding"] = self.dense(features["sentence_embedding"]).tanh()
        return features
