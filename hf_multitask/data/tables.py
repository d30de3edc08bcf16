"""Files and datasets as tables: their columns, and their rows by number, the broken ones told apart."""

import csv
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ..models.construct import unknown
from .rows import Place, Unreadable

__all__ = ["Numbered", "Table", "batch_rows", "delimited", "table_at"]

Numbered = Iterator[tuple[int, Sequence[Any] | str]]
"""Rows by line or row number: their values, or a sentence on why the line is broken."""


class Table(NamedTuple):
    """Named columns of some file; `read(names)` gives the values of those columns, row by row."""

    place: Place
    columns: Sequence[str]
    read: Callable[[Sequence[str]], Numbered]


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
