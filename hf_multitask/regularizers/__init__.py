"""Regularizers: penalties on answers that a small change would change."""

from typing import Any

from ..models.construct import construct
from .bregman import BetaSchedule, Bregman
from .regularizer import Follower, Regularizer
from .smart import Smart

__all__ = ["REGULARIZERS", "BetaSchedule", "Bregman", "Follower", "Regularizer", "Smart", "build_regularizer"]

REGULARIZERS: dict[str, type[Regularizer]] = {member.__name__: member for member in (Bregman, Smart)}


def build_regularizer(spec: dict[str, Any]) -> Regularizer:
    """The regularizer that a description such as `{"class": "Smart", "weight": 5}` names."""
    return construct("regularizer", REGULARIZERS, spec)
