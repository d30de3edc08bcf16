"""Where rows come from: the course's files, datasets on the Hub, files of one's own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets

from ..models.construct import unknown
from ..tasks import Task
from .rows import SPLITS, Place, Row, Unreadable
from .tables import Numbered, Table, batch_rows, delimited, table_at

__all__ = ["HUB", "Course", "Files", "Hub", "Published"]

NO_CLASS = -1
"""What datasets puts in place of a class that is held back."""
FIELDS = ("first", "second", "label", "id")
Ranges = tuple[tuple[float, float], tuple[float, float]]
Relabel = Callable[[Any], Any]

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
            if raw is None or raw == self.no_label or (isinstance(feature, datasets.ClassLabel) and raw == NO_CLASS):
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


HUB: dict[str, Hub] = {
    "sst": Hub("SetFit/sst5", columns={"first": "text"}),
    "qqp": Hub("nyu-mll/glue", "qqp", columns={"first": "question1", "second": "question2", "id": "idx"}, no_label=-1),
    "sts": Hub("nyu-mll/glue", "stsb", columns={**PAIR, "id": "idx"}, no_label=-1),
    # The main branch is a loading script, which datasets no longer runs; the Hub's own conversion is plain Parquet.
    "sick": Hub("RobZamp/sick", revision="refs/convert/parquet", columns=SICK_COLUMNS, rescale=ONE_TO_FIVE),
}
