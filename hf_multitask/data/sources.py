"""Where rows come from: the course's files, datasets on the Hub, files of one's own."""

import csv
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from ..models.construct import unknown
from ..tasks import Task
from .rows import SPLITS, Place, Row, Unreadable

__all__ = ["HUB", "Course", "Files", "Hub", "Published"]

FIELDS = ("first", "second", "label", "id")
Ranges = tuple[tuple[float, float], tuple[float, float]]
Relabel = Callable[[Any], Any]
Numbered = Iterator[tuple[int, Sequence[Any] | str]]
"""Rows by line or row number: their values, or a sentence on why the line is broken."""

ONE_TO_FIVE: Ranges = ((1, 5), (0, 5))

SINGLE = {"first": "sentence", "label": "sentiment", "id": "id"}
PAIR = {"first": "sentence1", "second": "sentence2", "id": "id"}
SICK_COLUMNS = {"first": "sentence_A", "second": "sentence_B", "label": "relatedness_score"}
SICK_SETS = {"TRAIN": "train", "TRIAL": "dev", "TEST": "test"}
COURSE_FILES: dict[str, tuple[str, dict[str, str]]] = {
    "sst": ("ids-sst-{}.csv", SINGLE),
    "cfimdb": ("ids-cfimdb-{}.csv", SINGLE),
    "qqp": ("quora-{}.csv", {**PAIR, "label": "is_duplicate"}),
    "sts": ("sts-{}.csv", {**PAIR, "label": "similarity"}),
    "sick": ("SICK.txt", {**SICK_COLUMNS, "id": "pair_ID"}),
}
COURSE_ENDINGS = {"train": "train", "dev": "dev", "test": "test-student"}


@dataclass(frozen=True)
class Course:
    """The tab-separated files of the CS224N minBERT project, and SICK.txt beside them.

    Columns are found by name, so the shifted header of the SST and CFIMDB test files does no harm. SICK's
    relatedness of 1 to 5 is mapped to 0 to 5.

    >>> Course("data").splits(SST)  # doctest: +SKIP
    ('train', 'dev', 'test')
    """

    data_dir: str | Path

    def splits(self, task: Task) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if task.name in COURSE_FILES and self.file(task, split).is_file())

    def rows(self, task: Task, split: str) -> Iterator[Row]:
        if task.name not in COURSE_FILES:
            text = f"the course has no '{task.name}'; it has {', '.join(COURSE_FILES)}"
            raise Unreadable(Place(str(self.data_dir)), text)
        table = delimited(self.file(task, split), delimiter="\t")
        relabel = None
        if task.name == "sick":
            table, relabel = sick_set(table, split), rescaler(ONE_TO_FIVE)
        yield from canonical(table, task, split, COURSE_FILES[task.name][1], relabel=relabel)

    def file(self, task: Task, split: str) -> Path:
        return Path(self.data_dir) / COURSE_FILES[task.name][0].format(COURSE_ENDINGS[split])


@dataclass(frozen=True)
class Files:
    """CSV, TSV, JSON-lines or Parquet files of one's own, one a split.

    `columns` gives the file's names of first, second, label and id where they differ. Without an id, a row
    is called by its line. A .csv file may be separated by commas or, if its header has any, by tabs.

    >>> Files("mine/train.csv", "mine/dev.csv", columns={"first": "review", "label": "stars"}).columns["first"]
    'review'
    """

    train: str | Path | None = None
    dev: str | Path | None = None
    test: str | Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def splits(self, task: Task) -> tuple[str, ...]:
        return tuple(split for split, file in self.paths().items() if file is not None)

    def rows(self, task: Task, split: str) -> Iterator[Row]:
        path = self.paths()[split]
        if path is None:
            given = ", ".join(self.splits(task)) or "nothing"
            raise Unreadable(Place("Files"), f"no {split} file is given, only {given}")
        yield from canonical(table_at(Path(path)), task, split, self.columns)

    def paths(self) -> dict[str, str | Path | None]:
        return {"train": self.train, "dev": self.dev, "test": self.test}


@dataclass(frozen=True)
class Hub:
    """One dataset on the Hub, or a local folder of the same shape.

    `split_names` and `columns` give the dataset's own names where they differ from ours. `rescale` maps labels
    from its first range to its second; `no_label` is what stands for a label held back, -1 in GLUE. Labels
    whose names are the task's are read by name, in whatever order the dataset numbers them.

    >>> Hub("nyu-mll/glue", "stsb", columns={"first": "sentence1", "second": "sentence2"}, no_label=-1).config
    'stsb'
    """

    repo: str
    config: str | None = None
    revision: str | None = None
    split_names: Mapping[str, str] = field(default_factory=lambda: {"dev": "validation"})
    columns: Mapping[str, str] = field(default_factory=dict)
    rescale: Ranges | None = None
    no_label: float | None = None

    def splits(self, task: Task) -> tuple[str, ...]:
        return SPLITS

    def rows(self, task: Task, split: str) -> Iterator[Row]:
        name = self.split_names.get(split, split)
        place = Place(" ".join(filter(None, (self.repo, self.config, name))), unit="row")
        try:
            dataset = datasets.load_dataset(self.repo, self.config, split=name, revision=self.revision)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise Unreadable(place, self.excuse(error)) from error
        feature = dataset.features.get(self.columns.get("label", "label"))

        def read(names: Sequence[str]) -> Numbered:
            return batch_rows(dataset.select_columns(list(names)).with_format("arrow").iter(10_000), names)

        yield from canonical(
            Table(place, dataset.column_names, read), task, split, self.columns, relabel=self.relabeller(task, feature)
        )

    def relabeller(self, task: Task, feature: Any) -> Relabel:
        rescale = rescaler(self.rescale) if self.rescale else None
        named = isinstance(feature, datasets.ClassLabel) and set(feature.names) == set(task.objective.labels or ())

        def relabel(raw: Any) -> Any:
            if raw is None or raw == self.no_label:
                return None
            return feature.names[raw] if named else rescale(raw) if rescale else raw

        return relabel

    def excuse(self, error: Exception) -> str:
        """One sentence for whatever the Hub answered."""
        if isinstance(error, ConnectionError):
            return "the Hub cannot be reached; connect, or read local files by Course or Files"
        if isinstance(error, datasets.exceptions.DatasetNotFoundError):
            return f"the Hub has no dataset '{self.repo}' that you may read; log in if it is private or gated"
        return f"cannot be loaded: {' '.join(str(error).split()).rstrip('.')}"


@dataclass(frozen=True)
class Published:
    """The built-in tasks as the Hub has them, each from the dataset that `HUB` names."""

    def splits(self, task: Task) -> tuple[str, ...]:
        return HUB[task.name].splits(task) if task.name in HUB else ()

    def rows(self, task: Task, split: str) -> Iterator[Row]:
        if task.name not in HUB:
            text = f"no dataset is known for '{task.name}', only for {', '.join(HUB)}; read it by Course or Files"
            raise Unreadable(Place("the Hub"), text)
        return HUB[task.name].rows(task, split)


class Table(NamedTuple):
    """Named columns of some file; `read(names)` gives the values of those columns, row by row."""

    place: Place
    columns: Sequence[str]
    read: Callable[[Sequence[str]], Numbered]


def canonical(
    table: Table, task: Task, split: str, columns: Mapping[str, str], *, relabel: Relabel | None = None
) -> Iterator[Row]:
    """The rows of `table` under our names of its columns."""
    wrong = [unknown("field of columns", name, FIELDS) for name in columns if name not in FIELDS]
    if wrong:
        raise ValueError(" ".join(wrong))
    names = {name: columns.get(name, name) for name in FIELDS if name != "second" or task.pair}
    optional = [*["label"] * (split == "test"), *["id"] * ("id" not in columns)]
    names = {name: column for name, column in names.items() if column in table.columns or name not in optional}
    lacking = [f"'{column}' ({name})" for name, column in names.items() if column not in table.columns]
    if lacking:
        text = f"no column {', '.join(lacking)}; the columns are {', '.join(map(repr, table.columns))}"
        raise Unreadable(table.place, text if columns else f'{text}; map them with columns={{"first": ...}}')
    file, _, unit = table.place
    number = None
    for number, values in table.read(list(names.values())):
        place = Place(file, number, unit)
        if isinstance(values, str):
            yield Row(place, broken=values)
            continue
        row = dict(zip(names, values, strict=True))
        if relabel and "label" in row:
            row["label"] = relabel(row["label"])
        yield Row(place, row.get("id", number), row["first"], row.get("second"), row.get("label"))
    if number is None:
        raise Unreadable(table.place, "there are no rows")


def sick_set(table: Table, split: str) -> Table:
    """The rows of `table` that SICK's last column counts to `split`."""
    column = "SemEval_set"
    if column not in table.columns:
        raise Unreadable(table.place, f"no column '{column}', which tells train, dev and test apart")

    def read(names: Sequence[str]) -> Numbered:
        for number, values in table.read([*names, column]):
            if isinstance(values, str):
                yield number, values
            elif values[-1] not in SICK_SETS:
                yield number, f"{column} '{values[-1]}' is none of {', '.join(SICK_SETS)}"
            elif SICK_SETS[values[-1]] == split:
                yield number, values[:-1]

    return table._replace(read=read)


def rescaler(ranges: Ranges) -> Relabel:
    """Moves numbers from the first range to the second, and leaves what is no number to be complained about."""
    (low, high), (bottom, top) = ranges

    def rescale(label: Any) -> Any:
        try:
            return bottom + (float(label) - low) / (high - low) * (top - bottom)
        except (TypeError, ValueError):
            return label

    return rescale


def table_at(path: Path) -> Table:
    """A file of one of four formats, told by its ending."""
    readers: dict[str, Callable[[Path], Table]] = {
        ".csv": delimited,
        ".tsv": partial(delimited, delimiter="\t"),
        ".jsonl": json_lines,
        ".parquet": parquet,
    }
    ending = path.suffix.lower()
    if ending not in readers:
        raise Unreadable(Place(str(path)), unknown("ending", ending, readers).rstrip("."))
    return readers[ending](path)


def delimited(path: Path, *, delimiter: str | None = None) -> Table:
    """A file of separated fields under a header."""
    place = Place(str(path))
    lines = decoded(path)
    top = next(lines, "")
    found = records(chain([top], lines), delimiter or ("\t" if "\t" in top else ","))
    number, header = next(found, (0, []))
    if isinstance(header, str):
        raise Unreadable(place._replace(number=number), f"the header cannot be read: {header}")
    if not header:
        raise Unreadable(place, "the file is empty")
    columns = [name.strip() for name in header]

    def read(names: Sequence[str]) -> Numbered:
        indices = [columns.index(name) for name in names]
        for number, fields in found:
            yield number, fields if isinstance(fields, str) else [fields[index] for index in indices]

    return Table(place, columns, read)


def records(lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """The number of each record's first line and its fields, or what is broken about it.

    A quoted field may run over several lines. Where that does not come out right, only the first line is
    given up and reading goes on with the next, so that a quote never closed costs one row and not the file.
    """
    ahead: deque[str] = deque()
    taken: list[str] = []

    def feed() -> Iterator[str]:
        while (line := ahead.popleft() if ahead else next(lines, None)) is not None:
            taken.append(line)
            yield line

    reader = csv.reader(feed(), delimiter=delimiter, strict=True)
    number, width = 1, 0
    while True:
        broken = None
        try:
            fields = next(reader, None)
        except csv.Error as error:
            if len(taken) > 1 or "end of data" in str(error):
                broken = "a quote opens on this line and does not close"
            else:
                doubled = "expected after" in str(error)
                broken = "a quote inside a quoted field is not doubled" if doubled else f"not to be split: {error}"
            fields = []
        if fields is None:
            return
        width = width or len(fields)
        if fields and len(fields) != width:
            broken = f"{len(fields)} fields where the header has {width}"
        # Two quotes missing on two lines may meet as one long field. No real text holds both of these.
        elif len(taken) > 1 and delimiter == "\t" and any("\t" in text and "\n" in text for text in fields):
            broken = "a quote opens on this line and closes only after the next column"
        if broken:
            ahead.extendleft(reversed(taken[1:]))
            del taken[1:]
            reader = csv.reader(feed(), delimiter=delimiter, strict=True)
            yield number, broken
        elif fields:
            yield number, fields
        number += len(taken)
        taken.clear()


def decoded(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, without its byte-order mark."""
    if not path.is_file():
        raise Unreadable(Place(str(path)), absence(path))
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                said = f"this is not UTF-8 ({error}); save the file as UTF-8"
                raise Unreadable(Place(str(path), number), said) from error
            yield text.removeprefix("\ufeff") if number == 1 else text


def absence(path: Path) -> str:
    """Why there is no file at `path`, and what stands where it should be."""
    if not path.parent.is_dir():
        return f"there is no folder '{path.parent}'"
    beside = sorted(file.name for file in path.parent.iterdir() if file.is_file())
    shown = ", ".join(beside[:8]) + (f" and {len(beside) - 8} more" if len(beside) > 8 else "")
    return f"there is no such file; the folder holds {shown or 'no files'}"


def json_lines(path: Path) -> Table:
    """A file of one JSON object a line; the first object says which columns there are."""
    columns = next((list(item) for _, item in parsed(path) if isinstance(item, dict)), None)
    if columns is None:
        raise Unreadable(Place(str(path)), "no line of the file is a JSON object")

    def read(names: Sequence[str]) -> Numbered:
        for number, item in parsed(path):
            yield number, item if isinstance(item, str) else [item.get(name) for name in names]

    return Table(Place(str(path)), columns, read)


def parsed(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The number of each line that is not blank and its object, or why it is none."""
    for number, line in enumerate(decoded(path), 1):
        if line.strip():
            try:
                item = json.loads(line)
            except json.JSONDecodeError as error:
                yield number, f"this is not JSON, {error.msg}: column {error.colno}"
            else:
                yield number, item if isinstance(item, dict) else "a line must be a JSON object"


def parquet(path: Path) -> Table:
    place = Place(str(path), unit="row")
    if not path.is_file():
        raise Unreadable(place, absence(path))
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise Unreadable(place, f"this is no Parquet file: {error}") from error
    columns = file.schema_arrow.names
    return Table(place, columns, lambda names: batch_rows(file.iter_batches(columns=list(names)), names))


def batch_rows(batches: Iterator[Any], names: Sequence[str]) -> Numbered:
    """Rows of Arrow batches, numbered from 0."""
    rows = (zip(*(batch[name].to_pylist() for name in names), strict=True) for batch in batches)
    return enumerate(chain.from_iterable(rows))


HUB: dict[str, Hub] = {
    "sst": Hub("SetFit/sst5", columns={"first": "text"}),
    "qqp": Hub("nyu-mll/glue", "qqp", columns={"first": "question1", "second": "question2", "id": "idx"}, no_label=-1),
    "sts": Hub("nyu-mll/glue", "stsb", columns={**PAIR, "id": "idx"}, no_label=-1),
    # The main branch is a loading script, which datasets no longer runs; the Hub's own conversion is plain Parquet.
    "sick": Hub("RobZamp/sick", revision="refs/convert/parquet", columns=SICK_COLUMNS, rescale=ONE_TO_FIVE),
}
