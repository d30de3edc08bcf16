"""What `--help` prints: every setting of a recipe, with what it is now."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from inspect import Parameter, get_annotations, getdoc, getmro, signature
from typing import Any

from .given import Given, joined
from .schema import MemberOf, OptionsOf, marker_of, said, shorthands, walk

__all__ = ["help_text"]

WIDTH = 100
LONGEST = 48
"""Of an option that is longer the text stands below it."""
MORE = "More settings:"
PLACEHOLDERS = {
    "true or false": "",
    "whole": "INT",
    "number": "NUMBER",
    "text": "TEXT",
    "list": "LIST",
    "mapping": "{..}",
}


def help_text(kind: type, given: Given, files: Sequence[str]) -> str:
    """Every setting, what it is for and what it is now; then the rest of the recipe's docstring."""
    about, _, examples = (getdoc(kind) or "").partition("\n")
    block = [("--config FILE.yaml", "Settings to begin with; of several files the last wins")]
    for name, (path, member) in shorthands(kind).items():
        block.append((f"--{name} TEXT", f"Short for {path} {{class: {member}, {name}: TEXT}}"))
    blocks = [(f"{about}\n\nSettings, with their values in {', '.join(files) or 'the program'}:\n", block)]
    for path, hint, help in walk(kind):
        marker = marker_of(hint)
        if is_dataclass(hint):
            blocks.append((f"{path}: {(getdoc(hint) or '').splitlines()[0]}", []))
        elif isinstance(marker, OptionsOf):
            blocks += [] if "." in path else [(f"{path}: {help}.", [])]
            blocks[-1][1].extend(usual(marker, path, given))
        else:
            if "." not in path and len(blocks) > 1 and not blocks[-1][0].startswith(MORE):
                blocks.append((MORE, []))
            blocks[-1][1].append(entry(path, hint, help, found(given, path)))
            blocks[-1][1].extend(members(marker) if isinstance(marker, MemberOf) else [])
    return "\n\n".join([*(laid_out(title, rows) for title, rows in blocks), examples.strip()])


def laid_out(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Two columns; a row without a flag takes both."""
    column = max((len(flag) for flag, _ in rows if len(flag) <= LONGEST), default=0) + 4
    lines = [title]
    for flag, text in rows:
        start, indent = (f"  {flag}".ljust(column), column) if flag else (" " * 6, 10)
        if len(flag) > LONGEST:
            lines.append(start)
            start = " " * column
        lines += textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * indent)
    return "\n".join(lines)


def entry(path: str, hint: Any, help: str, now: Given | None) -> tuple[str, str]:
    return f"--{path} {placeholder(hint)}".strip(), f"{help} [{brief(now)}]".strip() if now else help


def usual(marker: OptionsOf, path: str, given: Given) -> Iterator[tuple[str, str]]:
    """The fields of another class that are often set."""
    owned = {part.name: part for part in fields(marker.owner)}
    for name in marker.usual:
        help = owned[name].metadata.get("help", "").partition(". ")[0].rstrip(".")
        now = found(given, joined(path, name)) or Given.of(owned[name].default, "")
        yield entry(joined(path, name), marker.kinds[name], help, now)
    yield f"--{path}.NAME", f"Any other field of {marker.owner.__name__}"


def members(marker: MemberOf) -> Iterator[tuple[str, str]]:
    """The members of a family, each with its options; those of other libraries by name, for they have many."""
    for name, member in marker.members.items():
        parameters = [p for p in signature(member).parameters.values() if p.name not in marker.given]
        if isinstance(member, type) and is_dataclass(member):
            own = {part for one in getmro(member) if is_ours(one) for part in get_annotations(one)}
            parameters = [p for p in parameters if p.name in own]
        if is_ours(member):
            yield "", f"{name}: {', '.join(map(parameter, parameters))}" if parameters else name
    if others := [name for name, member in marker.members.items() if not is_ours(member)]:
        yield "", ", ".join(others)


def is_ours(member: Any) -> bool:
    return member.__module__.partition(".")[0] == __name__.partition(".")[0]


def parameter(p: Parameter) -> str:
    if p.default is p.empty:
        return p.name
    plain = p.default is None or isinstance(p.default, str | int | float | list | tuple)
    return f"{p.name}={brief(Given.of(p.default, '')) if plain else '..'}"


def placeholder(hint: Any) -> str:
    """A type in a word."""
    for phrase, word in PLACEHOLDERS.items():
        if phrase in said(hint):
            return word
    return said(hint).removeprefix("one of ").replace(", ", "|")


def found(given: Given, path: str) -> Given | None:
    for key in path.split("."):
        if not isinstance(given.value, dict) or key not in given.value:
            return None
        given = given.value[key]
    return given


def brief(given: Given) -> str:
    """A value on part of a line."""
    if isinstance(given.value, list):
        names = [item.name(item.text) for item in given.value]
        return (", ".join(names) if all(names) else f"{len(names)} of them") or "none"
    if isinstance(given.value, dict):
        return f"{{{', '.join(f'{key}: {brief(child)}' for key, child in given.value.items())}}}"
    return given.text
