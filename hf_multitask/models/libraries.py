"""What only some uses of a model need: imported by whoever needs it, and nobody else."""

from importlib import import_module
from typing import Any

__all__ = ["library"]


def library(module: str, name: str) -> Any:
    """A name of a library, imported now.

    By a function and not a statement: transformers wants every package that a model's file imports, wherever it does.

    >>> library("math", "gcd")(4, 6)
    2
    """
    return getattr(import_module(module), name)
