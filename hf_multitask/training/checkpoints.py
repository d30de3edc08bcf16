"""Which checkpoints are whole: a kill in the middle of writing one must never leave a checkpoint to resume from."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import Trainer
from transformers.trainer_utils import rotate_checkpoints

__all__ = ["WholeCheckpoints", "chosen", "mark_whole", "newest_whole", "seconds_to"]

MARK = "whole.json"
SPENT = "seconds.json"


def mark_whole(folder: Path) -> None:
    """Record that `folder` was written to its end: every file and its size."""
    sizes = {str(file.relative_to(folder)): file.stat().st_size for file in files(folder)}
    aside = folder / f".{MARK}"
    aside.write_text(json.dumps(sizes, indent=1, sort_keys=True))
    os.replace(aside, folder / MARK)


def is_whole(folder: Path) -> bool:
    """Whether every file that was there when writing ended is there now, at the same size."""
    mark = folder / MARK
    if not mark.is_file():
        return False
    sizes = json.loads(mark.read_text())
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


def newest_whole(output_dir: str | Path) -> Path | None:
    """The whole checkpoint of the highest step in `output_dir`, or None."""
    steps = {
        int(match[1]): folder
        for folder in Path(output_dir).glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", folder.name)) and is_whole(folder)
    }
    return steps[max(steps)] if steps else None


def chosen(resume: str | None, output_dir: str | Path) -> str | None:
    """The checkpoint that `resume` means: None, the newest whole one for "auto", or the folder that it names."""
    if resume is None or resume == "auto":
        found = newest_whole(output_dir) if resume else None
        return None if found is None else str(found)
    if not is_whole(Path(resume)):
        state = "was not written to its end" if Path(resume).is_dir() else "is not there"
        raise ValueError(f"The checkpoint {resume} {state}. `--resume auto` takes the newest whole one.")
    return resume


def seconds_to(checkpoint: str | None) -> float:
    """What it took to come as far as a checkpoint, with every process that had a part; 0 where that is not told."""
    spent = None if checkpoint is None else Path(checkpoint, SPENT)
    return float(json.loads(spent.read_text())) if spent is not None and spent.is_file() else 0.0


class WholeCheckpoints(Trainer):
    """A Trainer, to be mixed into another, that deletes older checkpoints only when the new one is whole.

    A kill in between must leave one to resume from. Each tells the seconds since `begun`, which whoever resumes sets
    so many seconds back.
    """

    def __init__(self, *args: Any, **options: Any):
        self.begun = time.time()
        super().__init__(*args, **options)

    def save_beside(self, checkpoint: Path) -> None:
        """Write what else belongs to a checkpoint, before it is marked as whole."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial=trial))
        checkpoint = folder / f"checkpoint-{self.state.global_step}"
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            # One that is written again is not whole meanwhile.
            (checkpoint / MARK).unlink(missing_ok=True)
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self.save_beside(checkpoint)
                (checkpoint / SPENT).write_text(f"{time.time() - self.begun}\n")
                mark_whole(checkpoint)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise RuntimeError(
                f"{checkpoint} could not be written: {error}. Training ends here; make room or give another "
                f"output_dir. The newest whole checkpoint is {newest_whole(folder) or 'none'}."
            ) from error
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            rotate_checkpoints(
                output_dir=str(folder),
                save_total_limit=limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )


def files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name not in (MARK, f".{MARK}")]
