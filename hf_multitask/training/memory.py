"""What a process does with memory that it frees, on a processor and where C's library is GNU's."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import Trainer, TrainerCallback

__all__ = ["GiveBack", "Keeping", "give_back", "keep", "kept"]

C = ctypes.CDLL(None) if sys.platform == "linux" else None
GNU = C if hasattr(C, "malloc_trim") else None

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT, OWN = (1 << 30) - 1, 1 << 25
"""Up to how many bytes a piece is kept; the second is as far as the library goes by itself."""


def keep() -> None:
    """From now on keep what is freed for whoever asks next.

    By itself the library gives large pieces back at once, a gradient of the word embeddings among them, and the system
    has to clear them anew in each step: a tenth of a step of a few rows.
    """
    limit(KEPT)


@contextmanager
def kept() -> Iterator[None]:
    """Keep what is freed meanwhile, and then give back all that is free."""
    keep()
    try:
        yield
    finally:
        limit(OWN)
        give_back()


def give_back() -> None:
    """Give all that is free back to the system.

    Steps of ever other lengths leave gaps between what they allocate, which add up to more than the training itself.
    """
    if GNU is not None:
        GNU.malloc_trim(0)


def limit(most: int) -> None:
    if GNU is not None:
        GNU.mallopt(M_MMAP_THRESHOLD, most)
        GNU.mallopt(M_TRIM_THRESHOLD, 2 * most)


class GiveBack(TrainerCallback):
    """Gives back what is free at each log."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        give_back()


class Keeping(Trainer):
    """A Trainer, to be mixed into another, that on a processor keeps what a step frees until the next log."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        if self.args.device.type == "cpu":
            self.add_callback(GiveBack())

    def train(self, *args: Any, **options: Any) -> Any:
        if self.args.device.type != "cpu":
            return super().train(*args, **options)
        with kept():
            return super().train(*args, **options)
