"""Scripts in processes of their own, as many side by side as there are jobs: started at once, and never left behind."""

import gc
import multiprocessing
import os
import runpy
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

__all__ = ["BEGUN", "Job", "Stopped", "begin", "end", "gpu_at", "stoppable"]

PRELOAD = (
    "assembly.models",
    "trainer",
    "sections.pretrain",
    "pretraining.trainer",
    "ensembles.making",
    "sections.tune",
    "pages.showing",
)
"""What every script imports, which takes longer than a small run: it is imported once, and inherited."""

BEGUN = "== begun "
"""How a line begins in a log, after which a new attempt prints."""

PATIENCE = 60.0
"""Seconds that a script may take to save its checkpoint when it is told to end."""


class Stopped(BaseException):
    """This process was told to end by SIGTERM."""


@dataclass(frozen=True)
class Job:
    """A script, its words, and the file that it makes last; where that is there, nothing is left to do.

    `anew`: what is in the file's folder is taken away first, and not gone on from.
    """

    script: Path
    words: Sequence[str]
    makes: Path
    anew: bool = False


def begin(scripts: Sequence[Job], log: Path, *, threads: int, gpu: str | None = None) -> Any:
    """Start scripts, one after the other, in one process; the process.

    Of several GPUs it sees the one that is named. It ends with the first script that fails. What they print goes to
    `log`. Beside it lies a lock, so that nobody else does the same, and it ends by itself when this process is killed.
    """
    context = multiprocessing.get_context("forkserver")
    package = __name__.partition(".")[0]
    context.set_forkserver_preload([f"{package}.{name}" for name in PRELOAD])
    process = context.Process(target=play, args=(list(scripts), log, threads, gpu))
    process.start()
    return process


def play(scripts: Sequence[Job], log: Path, threads: int, gpu: str | None) -> None:
    """What happens in the process of its own."""
    threading.Thread(target=follow, daemon=True).start()
    # Who interrupts a study from a terminal reaches its runs too: they wait to be told, and save a checkpoint.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What was imported stays: looking through it for garbage would take longer than a small run.
    gc.freeze()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        limit(threads)
    with alone(log), open(log, "a") as stream:
        # Whoever held the lock before may have done it.
        left = [job for job in scripts if not job.makes.is_file()]
        if not left:
            return
        print(f"{BEGUN}{datetime.now():%Y-%m-%d %H:%M:%S}", file=stream, flush=True)
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        for job in left:
            if job.anew:
                clear(job.makes.parent)
            sys.argv = [str(job.script), *job.words]
            try:
                runpy.run_path(str(job.script), run_name="__main__")
            except SystemExit as ended:
                if ended.code:
                    raise
            finally:
                sys.stdout.flush()
                sys.stderr.flush()


@contextmanager
def alone(log: Path) -> Iterator[None]:
    """Hold the lock beside a log; say whom one waits for."""
    lock = FileLock(f"{log}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"\n{log.stem} is being made by another process: waiting for it.", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def clear(folder: Path) -> None:
    """Take away what an earlier run left in its folder; what is no run's is left for the script to refuse.

    Whole or not at all: of a part it could not be told whose it was.
    """
    aside = folder.with_name(f".{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    if (folder / "recipe.yaml").is_file():
        folder.rename(aside)
        shutil.rmtree(aside)


def gpu_at(place: int) -> str | None:
    """The GPU for a place among those that go on side by side, each in turn; None without any."""
    import torch

    count = torch.cuda.device_count()
    names = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
    return names[place % len(names)] if count else None


def limit(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def follow() -> None:
    """Die with the process that began this one, however that died."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def end(processes: Sequence[Any]) -> None:
    """Tell processes to end, and wait until they have: a training saves a checkpoint first."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()


class stoppable:
    """Within it SIGTERM raises `Stopped`, so that whoever began processes can end them."""

    def __enter__(self) -> None:
        self.before: Any = None
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGTERM, self.hear)

    def hear(self, number: int, frame: FrameType | None) -> None:
        raise Stopped

    def __exit__(self, *fault: Any) -> None:
        if self.before is not None:
            with suppress(ValueError):
                signal.signal(signal.SIGTERM, self.before)
