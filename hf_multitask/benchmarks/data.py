"""From raw files to batches, beside the datasets library alone."""

import csv
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from unittest import mock

import datasets
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding

from ..data.encoded import Collator, EncodedTask, StepDataset, encode_task
from ..data.rows import load_all
from ..data.sampler import MultitaskSampler
from ..data.sources import Course
from ..models.configuration_minbert import MinBertConfig
from ..models.configuration_multitask import MultitaskConfig
from ..schedules import RoundRobin
from .memory import resident
from .texts import text_rows, tokenizer
from .training import tokenized
from .turns import Contender
from .workload import TASKS, Workload

__all__ = ["contenders"]

TASK = TASKS["qqp"]
ROWS = 20_000
PAIRS = 404_290
"""As many as Quora published."""


def contenders(workload: Workload) -> list[Contender]:
    """Each turn prepares `ROWS` pairs; then the parts of that; memory is that of `PAIRS` pairs, in a new process."""
    folder = Path(mkdtemp())
    write(workload, folder, ROWS)
    rows, kept = load(folder), folder / "kept"
    ids = encode(workload, rows)
    encode(workload, rows, kept)
    steps: dict[str, Callable[[], object]] = {
        "ours, raw file to batches": partial(ours, workload, folder),
        "datasets and a padding collator": partial(theirs, workload, folder),
        "ours, reading and checking": partial(load, folder),
        "ours, encoding": partial(encode, workload, rows),
        "ours, encoded before": partial(encode, workload, rows, kept),
        "ours, batches": partial(batches, workload, ids),
    }
    whole = {"ours, raw file to batches": ours, "datasets and a padding collator": theirs}
    memory = {name: f"{grown(workload, PAIRS, prepare):.0f}" for name, prepare in whole.items()}
    return [
        Contender(name, turn(step), rows=ROWS, settles=False, notes={f"RSS MB of {PAIRS:,}": memory.get(name, "")})
        for name, step in steps.items()
    ]


def turn(step: Callable[[], object]) -> Callable[[int], None]:
    def one(i: int) -> None:
        step()

    return one


def write(workload: Workload, folder: Path, count: int) -> None:
    """The course's file of question pairs."""
    rows = text_rows(workload, TASK.name, count)
    with open(Course(folder).file(TASK, "train"), "w", newline="") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(["id", "sentence1", "sentence2", "is_duplicate"])
        table.writerows(zip(range(count), rows["first"], rows["second"], rows["label"], strict=True))


def ours(workload: Workload, folder: Path) -> None:
    batches(workload, encode(workload, load(folder)))


def load(folder: Path) -> datasets.Dataset:
    return load_all([(TASK, "train", Course(folder))])[TASK.name, "train"]


def encode(workload: Workload, rows: datasets.Dataset, kept: Path | None = None) -> datasets.Dataset:
    config = MultitaskConfig(trunk=MinBertConfig(**workload.shape), tasks={TASK.name: TASK.describe()})
    with caching(kept):
        return encode_task(rows, TASK.name, config, tokenizer(workload))


def batches(workload: Workload, ids: datasets.Dataset) -> None:
    tasks = {TASK.name: EncodedTask(ids)}
    sampler = MultitaskSampler(
        {name: task.lengths for name, task in tasks.items()}, RoundRobin(), batch_size=workload.rows
    )
    for _ in DataLoader(StepDataset(tasks), batch_sampler=sampler, collate_fn=Collator()):
        pass


def theirs(workload: Workload, folder: Path) -> None:
    """As the guides of datasets and transformers say."""
    columns = {"sentence1": "first", "sentence2": "second", "is_duplicate": "label"}
    with TemporaryDirectory() as cache, caching(None):
        file = str(Course(folder).file(TASK, "train"))
        rows = datasets.load_dataset("csv", data_files=file, delimiter="\t", split="train", cache_dir=cache)
        words = tokenizer(workload)
        ids = tokenized(rows.rename_columns(columns), words)
        for _ in DataLoader(ids, workload.rows, shuffle=True, collate_fn=DataCollatorWithPadding(words)):
            pass


@contextmanager
def caching(folder: Path | None) -> Iterator[None]:
    """Keep what datasets makes in a folder, or nowhere."""
    before = datasets.is_caching_enabled()
    (datasets.enable_caching if folder else datasets.disable_caching)()
    try:
        with mock.patch.object(datasets.config, "HF_DATASETS_CACHE", folder or datasets.config.HF_DATASETS_CACHE):
            yield
    finally:
        (datasets.enable_caching if before else datasets.disable_caching)()


def grown(workload: Workload, count: int, prepare: Callable[[Workload, Path], None]) -> float:
    """By how many MB a new process grows at most while it prepares so many pairs."""
    with TemporaryDirectory() as folder, ProcessPoolExecutor(1, get_context("spawn")) as process:
        write(workload, Path(folder), count)
        return process.submit(growth, workload, prepare, Path(folder)).result()


def growth(workload: Workload, prepare: Callable[[Workload, Path], None], folder: Path) -> float:
    datasets.disable_progress_bars()
    tokenizer(workload)
    before = resident("VmRSS")
    prepare(workload, folder)
    # The kernel counts by and by, and may be some pages behind.
    return max(resident("VmHWM") - before, 0) / 1e6
