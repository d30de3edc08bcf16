"""Canonical rows: raw rows of any source, checked, as one dataset of the columns that everything else reads."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..models.construct import unknown
from ..models.objectives import Objective
from ..tasks import Task

__all__ = [
    "SPLITS",
    "DataError",
    "Fault",
    "Overlap",
    "Place",
    "Row",
    "Source",
    "Unreadable",
    "checked",
    "load",
    "load_all",
    "overlap",
]

logger = logging.getLogger(__name__)

SPLITS = ("train", "dev", "test")
POLICIES = ("error", "drop")
CHUNK = 20_000
SHOWN = 20
"""How many different sentences a message shows before it only counts."""


class Place(NamedTuple):
    """Where something stands: a file or dataset, and the line or row in it."""

    file: str
    number: int | None = None
    unit: str = "line"

    def __str__(self) -> str:
        return self.file if self.number is None else f"{self.file}, {self.unit} {self.number}"


class Row(NamedTuple):
    """A row as its source has it, not yet checked.

    The label is a number, a number as text or a label's name; a label or text of None or blanks is
    missing. `broken` says why a line could not be read as a row.
    """

    place: Place
    id: Any = None
    first: Any = None
    second: Any = None
    label: Any = None
    broken: str | None = None


class Source(Protocol):
    """Where the rows of a task come from."""

    def splits(self, task: Task) -> tuple[str, ...]:
        """The splits that `task` has here, of train, dev and test."""

    def rows(self, task: Task, split: str) -> Iterator[Row]:
        """Raw rows in their order; raises Unreadable where there can be none."""


class Unreadable(ValueError):
    """A source cannot give rows at all: a file is missing, lacks a column, is no UTF-8."""

    def __init__(self, place: Place, text: str):
        super().__init__(place, text)
        self.place, self.text = place, text

    def __str__(self) -> str:
        return f"{self.place}: {self.text}."


class Fault(NamedTuple):
    """What is wrong with one row, or, where `row` is false, with a whole file."""

    task: str
    split: str
    place: Place
    kind: str
    text: str
    row: bool = True


class DataError(ValueError):
    """Every fault of the data that was asked for, in one message; `faults` holds them all."""

    def __init__(self, faults: Sequence[Fault]):
        super().__init__(faults)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return summary(self.faults)


def load(task: Task, split: str, source: Source, *, on_bad_row: str = "error") -> Dataset:
    """The checked rows of one split: `id`, `first`, `second` for pairs, and `label` where there are labels.

    Bad rows are all raised together, or, with `on_bad_row="drop"`, left out and counted in one warning.
    A file that cannot be read is an error either way. Only the test split may come without labels.

    >>> load(SST, "dev", Course("data")).column_names  # doctest: +SKIP
    ['id', 'first', 'label']
    """
    if split not in SPLITS:
        raise ValueError(unknown("split", split, SPLITS))
    if on_bad_row not in POLICIES:
        raise ValueError(unknown("on_bad_row", on_bad_row, POLICIES))
    return checked(task, split, rows_of(source, task, split), on_bad_row=on_bad_row, place=Place(repr(source)))


def rows_of(source: Source, task: Task, split: str) -> Iterator[Row]:
    """A source's rows; that there can be none is raised where they are read."""
    yield from source.rows(task, split)


def checked(task: Task, split: str, rows: Iterable[Row], *, on_bad_row: str, place: Place | None = None) -> Dataset:
    """Raw rows as a dataset, the bad ones raised or left out; with a `place`, one must be good."""
    intake = Intake(task)
    faults: list[Fault] = []
    unlabelled: list[Fault] = []
    total = 0
    try:
        for row in rows:
            total += 1
            for kind, text in intake.take(row):
                (unlabelled if kind == NO_LABEL else faults).append(Fault(task.name, split, row.place, kind, text))
    except Unreadable as error:
        whole = Fault(task.name, split, error.place, "unreadable", error.text, row=False)
        raise DataError([whole] if on_bad_row == "drop" else [*faults, *unlabelled, whole]) from error
    table = intake.table()
    if split == "test" and table["label"].null_count == len(table):
        table = table.drop_columns("label")
    elif unlabelled:
        table = table.filter(pc.is_valid(table["label"]))
        faults = sorted([*faults, *unlabelled], key=lambda fault: fault.place.number or 0)
    if faults and on_bad_row == "error":
        raise DataError(faults)
    if not len(table) and place:
        place = faults[0].place._replace(number=None) if faults else place
        raise DataError([*faults, Fault(task.name, split, place, "unreadable", "no usable row", row=False)])
    if faults:
        kinds: dict[Place, str] = {}
        for fault in faults:
            kinds.setdefault(fault.place, fault.kind)
        counts = ", ".join(f"{kind}: {count}" for kind, count in Counter(kinds.values()).most_common())
        dropped = f"dropped {total - len(table)} of {total} rows ({counts}), the first at {faults[0].place}"
        logger.warning(f"{task.name} {split}: {dropped}.")
    return Dataset(table)


def load_all(
    requests: Iterable[tuple[Task, str, Source]], *, on_bad_row: str = "error"
) -> dict[tuple[str, str], Dataset]:
    """Load several splits, keyed by (task's name, split), and raise the faults of all in one DataError."""
    loaded: dict[tuple[str, str], Dataset] = {}
    faults: list[Fault] = []
    for task, split, source in requests:
        if (task.name, split) in loaded:
            raise ValueError(f"Each split is loaded once. '{task.name}' {split} is asked for twice.")
        try:
            loaded[task.name, split] = load(task, split, source, on_bad_row=on_bad_row)
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)
    return loaded


class Overlap(NamedTuple):
    """How many rows of train stand in dev and of dev in train; examples are (train id, dev id, texts)."""

    train: int
    dev: int
    examples: tuple[tuple[str, str, tuple[str, ...]], ...]


def overlap(train: Dataset, dev: Dataset, *, examples: int = 5) -> Overlap:
    """Find the rows that stand in both, by equal texts; the two texts of a pair may be exchanged."""
    standing: dict[tuple[str, ...], list[str]] = {}
    for name, texts in keyed(dev):
        standing.setdefault(texts, []).append(name)
    hits = 0
    found: dict[tuple[str, ...], str] = {}
    for name, texts in keyed(train):
        if texts in standing:
            hits += 1
            found.setdefault(texts, name)
    shown = [(name, standing[texts][0], texts) for texts, name in found.items()][:examples]
    return Overlap(hits, sum(len(standing[texts]) for texts in found), tuple(shown))


def keyed(rows: Dataset) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The id of every row and its texts in alphabetical order."""
    names = [name for name in ("id", "first", "second") if name in rows.column_names]
    for batch in rows.select_columns(names).with_format("arrow").iter(CHUNK):
        for name, *texts in zip(*(batch[column].to_pylist() for column in names), strict=True):
            yield name, tuple(sorted(texts))


BROKEN, NO_ID, NO_LABEL, NO_TEXT = "broken line", "no id", "no label", "no text"
WRONG_LABEL, WRONG_TEXT = "wrong label", "wrong text"


class Intake:
    """Checks rows one by one and keeps the good ones in Arrow, so that a split is held in memory once."""

    def __init__(self, task: Task):
        self.labels = Labels(task.objective)
        self.texts = {"first": "first text", "second": "second text"} if task.pair else {"first": "text"}
        label = pa.int64() if task.objective.labels is not None else pa.float32()
        self.schema = pa.schema([("id", pa.string()), *((text, pa.string()) for text in self.texts), ("label", label)])
        self.batches: list[pa.RecordBatch] = []
        self.pending: list[list[Any]] = []

    def take(self, row: Row) -> list[tuple[str, str]]:
        """Keep `row`, or say what is wrong with it as (kind, sentence); a row that only lacks its label is kept."""
        if row.broken is not None:
            return [(BROKEN, row.broken)]
        values: list[Any] = ["" if row.id is None else str(row.id).strip()]
        complaints = [] if values[0] else [(NO_ID, "the id is missing")]
        for field, name in self.texts.items():
            text = row.first if field == "first" else row.second
            values.append(text.strip() if isinstance(text, str) else text)
            if not values[-1] or not isinstance(text, str) or not text.isascii():
                complaints += complaints_of_text(name, values[-1])
        label, complaint = self.labels.read(row.label)
        if complaint:
            complaints.append((WRONG_LABEL, complaint))
        if not complaints:
            self.pending.append([*values, label])
            if len(self.pending) == CHUNK:
                self.flush()
        if label is None and not complaint:
            complaints.append((NO_LABEL, "the label is missing"))
        return complaints

    def flush(self) -> None:
        columns = zip(*self.pending, strict=True)
        arrays = [pa.array(column, type=kind) for column, kind in zip(columns, self.schema.types, strict=True)]
        self.batches.append(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
        self.pending = []

    def table(self) -> pa.Table:
        if self.pending:
            self.flush()
        return pa.Table.from_batches(self.batches, schema=self.schema)


def complaints_of_text(name: str, text: Any) -> list[tuple[str, str]]:
    if text is None or text == "":
        return [(NO_TEXT, f"the {name} is missing")]
    if not isinstance(text, str):
        return [(WRONG_TEXT, f"the {name} must be text, not {type(text).__name__}")]
    try:
        text.encode()
    except UnicodeEncodeError:
        return [(WRONG_TEXT, f"the {name} holds half of a surrogate pair, which is no character")]
    return []


class Labels:
    """Reads raw labels: names of an objective's labels, ids and numbers.

    Where the names are numbers themselves ("1" to "5"), they are all that is read, for an id would be ambiguous.
    """

    def __init__(self, objective: Objective):
        self.objective = objective
        self.ids = {number_or_text(name): number for number, name in enumerate(objective.labels or ())}
        self.only_names = any(isinstance(name, float) for name in self.ids)
        self.known: dict[Any, tuple[float | None, str | None]] = {}

    def read(self, raw: Any) -> tuple[float | None, str | None]:
        """(label, None), (None, what is wrong), or (None, None) where there is no label."""
        if raw is None:
            return None, None
        if isinstance(raw, bool):
            # As a number it would be an id, whatever the names of the ids say.
            named = [name for name in self.objective.labels or () if name.lower() == str(raw).lower()]
            return self.read(named[0]) if named else (None, f"a label is a number or a name, not {raw}")
        if not isinstance(raw, str | int | float):
            return None, f"a label is a number or a name, not {type(raw).__name__}"
        if raw not in self.known:
            self.known[raw] = self.judge(number_or_text(raw))
        return self.known[raw]

    def judge(self, value: float | str) -> tuple[float | None, str | None]:
        if value in self.ids:
            return self.ids[value], None
        if value == "" or value != value:
            return None, None
        names = self.objective.labels
        if isinstance(value, str) or self.only_names:
            shown = value if isinstance(value, str) else f"{value:g}"
            return None, unknown("label", shown, names).rstrip(".") if names else f"label '{shown}' is no number"
        complaint = self.objective.complaint(value)
        if complaint:
            return None, complaint
        return (int(value) if names else value), None


def number_or_text(raw: str | float) -> float | str:
    try:
        return float(raw)
    except (ValueError, OverflowError):
        return str(raw).strip()


def summary(faults: Sequence[Fault]) -> str:
    """All faults by task and file, equal ones together, the first few in full and the others as a count."""
    files: dict[tuple[str, str, str], dict[str, list[Place]]] = {}
    for fault in faults:
        sentences = files.setdefault((fault.task, fault.split, fault.place.file), {})
        sentences.setdefault(fault.text, []).append(fault.place)
    share = max(2, SHOWN // len(files))
    lines = [f"{len(faults)} fault{'s' * (len(faults) > 1)} in the data."]
    for (task, split, file), sentences in files.items():
        lines.append(f"{task} {split}, {file}:")
        lines += [f"  {numbers(places)}{text}" for text, places in list(sentences.items())[:share]]
        hidden = sum(map(len, list(sentences.values())[share:]))
        lines += [f"  and {hidden} more"] * (hidden > 0)
    if any(fault.row for fault in faults):
        lines.append('Mend these rows, or leave them out with on_bad_row="drop".')
    return "\n".join(lines)


def numbers(places: Sequence[Place]) -> str:
    """Such as `lines 3, 8 and 9: `; nothing for a whole file."""
    if places[0].number is None:
        return ""
    shown = ", ".join(str(place.number) for place in places[:5])
    more = f" and {len(places) - 5} more" if len(places) > 5 else ""
    return f"{places[0].unit}{'s' * (len(places) > 1)} {shown}{more}: "
