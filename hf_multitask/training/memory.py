"""What a process does with memory that it frees, on a processor and where C's library is GNU's."""

import ctypes
import sys

__all__ = ["give_back", "keep", "let_go"]

LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim") else None

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT, OWN = (1 << 30) - 1, 1 << 25
"""Up to how many bytes a piece is kept; the second is as far as the library goes by itself."""


def keep() -> None:
    """From now on keep what is freed for whoever asks next.

    By itself the library gives large pieces back at once, a gradient of the word embeddings among them, and the system
    has to clear them anew in each step: an eighth of a step of a few rows.
    """
    limit(KEPT)


def let_go() -> None:
    """From now on give large pieces back at once, and now all that is free."""
    limit(OWN)
    give_back()


def give_back() -> None:
    """Give all that is free back to the system.

    Steps of ever other lengths leave gaps between what they allocate, which add up to more than the training itself.
    """
    if LIBRARY is not None:
        LIBRARY.malloc_trim(0)


def limit(most: int) -> None:
    if LIBRARY is not None:
        LIBRARY.mallopt(M_MMAP_THRESHOLD, most)
        LIBRARY.mallopt(M_TRIM_THRESHOLD, 2 * most)
