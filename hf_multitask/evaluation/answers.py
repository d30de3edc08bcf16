"""What a model said on labelled rows, kept beside its report: `Answers`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["Answers", "load_answers", "save_answers"]

FILE = "answers.npz"


class Answers(NamedTuple):
    """Scores [n, outputs], the values [n] read from them, and labels [n]; of an ensemble each member's values too.

    `members` [members, n] holds nothing for a member that does not know the task: it is not among them. `fair_scores`
    and `fair_values` are what an ensemble says of each half of the rows by what was chosen on the other.
    """

    scores: np.ndarray
    values: np.ndarray
    labels: np.ndarray
    members: np.ndarray | None = None
    fair_scores: np.ndarray | None = None
    fair_values: np.ndarray | None = None

    @property
    def fair(self) -> np.ndarray:
        """The values [n] that nobody chose by these very rows."""
        return self.values if self.fair_values is None else self.fair_values


def save_answers(answers: Mapping[str, Answers], folder: str | os.PathLike) -> Path:
    """Write answers.npz, aside first.

    >>> import tempfile
    >>> said = {"sst": Answers(np.zeros((2, 5)), np.array([0, 1]), np.array([0, 4]))}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_answers(said, folder)
    ...     load_answers(folder)["sst"].labels.tolist()
    [0, 4]
    """
    arrays = {
        f"{task}.{part}": array
        for task, said in answers.items()
        for part, array in said._asdict().items()
        if array is not None
    }
    path = Path(folder, FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{os.getpid()}.{FILE}")
    np.savez_compressed(aside, **arrays)
    os.replace(aside, path)
    return path


def load_answers(folder: str | os.PathLike) -> dict[str, Answers]:
    """The answers of each task that a finished run left; none where it left no file, as a first stage does."""
    path = Path(folder, FILE)
    if not path.is_file():
        return {}
    found: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            task, _, part = key.partition(".")
            found.setdefault(task, {})[part] = arrays[key]
    return {task: Answers(**parts) for task, parts in found.items()}
