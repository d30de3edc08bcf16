"""How a recipe is checked: given values are read by the types of dataclasses, and every fault is kept."""

import functools
import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from .given import Given, joined, overlay
from .models.construct import construct, unknown

__all__ = [
    "MemberOf",
    "OptionsOf",
    "Preset",
    "Reader",
    "RecipeError",
    "defaults",
    "marker_of",
    "said",
    "shorthands",
    "walk",
]

FEW = 20
"""How many choices a message may list."""

NAMES = re.compile(r"[\w.]+(\s*,\s*[\w.]+)*")


class RecipeError(ValueError):
    """Every fault of a recipe in one message; `faults` holds them one by one."""

    def __init__(self, faults: Sequence[str]):
        super().__init__(tuple(faults))
        self.faults = tuple(faults)

    def __str__(self) -> str:
        count = "a fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        return "\n".join([f"The recipe has {count}:", *(f"- {fault}" for fault in self.faults)])


class Marker(Protocol):
    """What stands in Annotated beside a type, and reads given values in a way of its own."""

    def read(self, reader: "Reader", given: Given, kind: Any, path: str) -> Any: ...


@dataclass(frozen=True, eq=False)
class MemberOf:
    """Marks a mapping `{class: Name, option: value}` that describes a member of a family.

    `given` are arguments that the program supplies. Where there are none, the member is built once, so that it
    checks its own values. `shorthands` maps an option of the command line to the class which that option chooses.
    """

    family: str
    members: Mapping[str, Any]
    given: tuple[str, ...] = ()
    shorthands: Mapping[str, str] = field(default_factory=dict)

    def read(self, reader: "Reader", given: Given, kind: Any, path: str) -> Any:
        before = len(reader.faults)
        spec = given.plain()
        if isinstance(spec, dict) and "class" in spec:
            spec["class"] = str(spec["class"])
        # Names first, then types, and only what is right so far is built.
        self.construct(reader, given, path, {name: stand_in(member) for name, member in self.members.items()}, spec)
        if not isinstance(spec, dict) or spec.get("class") not in self.members:
            return None
        kinds = parameter_kinds(self.members[spec["class"]])
        for key, child in given.value.items():
            if key in kinds:
                spec[key] = reader.read(child, kinds[key], joined(path, key))
        if len(reader.faults) == before and not self.given:
            self.construct(reader, given, path, dict(self.members), spec)
        return spec

    def construct(self, reader: "Reader", given: Given, path: str, members: dict[str, Any], spec: Any) -> None:
        try:
            construct(self.family, members, spec, **dict.fromkeys(self.given))
        except ValueError as error:
            reader.fault(path, given, str(error))


def stand_in(member: Any) -> Callable[..., None]:
    """Takes what `member` takes, and builds nothing."""

    @functools.wraps(member, updated=())
    def taker(**options: Any) -> None: ...

    return taker


def parameter_kinds(member: Any) -> dict[str, Any]:
    if is_dataclass(member):
        # Inherited fields are written in terms of the module that they come from.
        hints = get_type_hints(member)
        return {part.name: hints[part.name] for part in fields(member) if part.init}
    parameters = inspect.signature(member, eval_str=True).parameters.values()
    return {p.name: Any if p.annotation is p.empty else p.annotation for p in parameters}


@dataclass(frozen=True, eq=False)
class OptionsOf:
    """Marks a mapping of some fields of another class, each of the type in `kinds`.

    `elsewhere` maps fields that the recipe sets in a place of their own to that place. `usual` are the fields
    that help shows.
    """

    owner: Any
    kinds: Mapping[str, Any]
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    usual: Sequence[str] = ()

    def read(self, reader: "Reader", given: Given, kind: Any, path: str) -> Any:
        options = reader.mapping(given, path)
        for key in [key for key in options if key in self.elsewhere]:
            text = f"Set '{self.elsewhere[key]}' at the top of the recipe instead."
            reader.fault(joined(path, key), options[key], text)
        options = {key: child for key, child in options.items() if key not in self.elsewhere}
        return reader.options(options, self.open, path, f"field of {self.owner.__name__}")

    @property
    def open(self) -> dict[str, Any]:
        return {key: kind for key, kind in self.kinds.items() if key not in self.elsewhere}


@dataclass(frozen=True, eq=False)
class Preset:
    """Marks a section that may be the name of a ready one, or a mapping of what differs from it."""

    word: str
    ready: Mapping[str, dict[str, Any]]

    def read(self, reader: "Reader", given: Given, kind: Any, path: str) -> Any:
        if not isinstance(given.value, dict):
            given = Given({"name": given}, given.origin)
        name = given.name("")
        if name in self.ready:
            given = overlay(Given.of(self.ready[name], given.origin), given, reader.faults, path)
        elif name and (lacking := [part for part in required(kind) if part not in given.value]):
            text = f"{unknown(self.word, name, self.ready)} Any other {self.word} needs {', '.join(lacking)}."
            reader.fault(path, given, text)
            reader.options(given.value, field_kinds(kind), path, "option")
            return None
        return reader.read(given, kind, path)


class Reader:
    """Reads given values by type. What cannot be read becomes a sentence in `faults`, and None."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def fault(self, path: str, given: Given, text: str) -> None:
        place = f" ({given.origin})" if given.origin else ""
        self.faults.append(f"{path}: {text}{place}" if path else f"{text}{place}")

    def read(self, given: Given, kind: Any, path: str = "") -> Any:
        origin, args = get_origin(kind) or kind, get_args(kind)
        if origin is Annotated:
            marker: Marker = args[1]
            return marker.read(self, given, args[0], path)
        if origin in (Union, types.UnionType):
            return self.alternative(given, kind, path)
        if is_dataclass(kind):
            return self.section(given, kind, path)
        if origin in (list, tuple, Sequence):
            return self.sequence(given, args, path)
        if origin in (dict, Mapping):
            inner = args[1] if args else Any
            # A key of one recipe is taken back by null in another.
            nulls = inner is Any or type(None) in get_args(inner)
            options = {k: child for k, child in self.mapping(given, path).items() if nulls or child.value is not None}
            return self.options(options, dict.fromkeys(options, inner), path, "key")
        return self.single(given, kind, path) if kind in SINGLE or choices(kind) else given.plain()

    def single(self, given: Given, kind: Any, path: str) -> Any:
        if named := choices(kind):
            if given.value in named:
                return given.value
            if given.text in named:
                return given.text
            if isinstance(given.value, str):
                return self.fault(path, given, unknown("choice", given.value, named))
        elif (value := SINGLE[kind][1](given)) is not None:
            return value
        return self.fault(path, given, f"Expected {said(kind)}. Got {shown(given)}.")

    def alternative(self, given: Given, kind: Any, path: str) -> Any:
        """Read by the first type that fits; where one alone could, say what keeps it from fitting."""
        if given.value is None and type(None) in get_args(kind):
            return None
        kinds = [one for one in get_args(kind) if one is not type(None)]
        if str in kinds and isinstance(given.value, str) and not NAMES.fullmatch(given.value):
            # What is no list of names, such as PEFT's all-linear or a pattern, is one text.
            kinds.sort(key=lambda one: one is not str)
        if any(isinstance(one, type) and issubclass(one, Enum) for one in kinds):
            kinds = [one for one in kinds if one is not str]
        faults = []
        for one in kinds:
            reader = Reader()
            value = reader.read(given, one, path)
            if not reader.faults:
                return value
            if one not in SINGLE and (len(kinds) == 1 or isinstance(given.value, list | dict)):
                faults.append(reader.faults)
        if len(faults) == 1:
            self.faults += faults[0]
        else:
            self.fault(path, given, f"Expected {said(kind)}. Got {shown(given)}.")

    def section(self, given: Given, kind: Any, path: str) -> Any:
        before = len(self.faults)
        options = self.mapping(given, path)
        if len(self.faults) > before:
            return None
        values = self.options(options, field_kinds(kind), path, "option", {} if path else deeper(kind))
        for name in required(kind):
            if name not in options:
                self.fault(path, given if path else Given(None, ""), f"'{name}' is needed.")
        if len(self.faults) > before:
            return None
        try:
            return kind(**values)
        except RecipeError as error:
            for text in error.faults:
                self.fault(path, given, text)
        except ValueError as error:
            self.fault(path, given, str(error))

    def mapping(self, given: Given, path: str) -> dict[str, Given]:
        if isinstance(given.value, dict) or given.value is None:
            return given.value or {}
        self.fault(path, given, f"Expected a mapping. Got {shown(given)}.")
        return {}

    def options(
        self,
        options: Mapping[str, Given],
        kinds: Mapping[str, Any],
        path: str,
        word: str,
        elsewhere: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Each option by its type. The unknown are sent to where they are known, or to the nearest name."""
        known = {}
        for key, child in options.items():
            if key in kinds:
                known[key] = self.read(child, kinds[key], joined(path, key))
            elif elsewhere and key in elsewhere:
                self.fault(path, child, f"Unknown {word} '{key}'. Did you mean '{elsewhere[key]}'?")
            else:
                guess, named, names = unknown(word, key, kinds).partition(" Choices:")
                self.fault(path, child, guess if len(kinds) > FEW else guess + named + names)
        return known

    def sequence(self, given: Given, args: tuple[Any, ...], path: str) -> Any:
        if isinstance(given.value, dict):
            return self.fault(path, given, f"Expected a list. Got {shown(given)}.")
        items = given.items()
        kinds = args if len(args) > 1 and args[1] is not Ellipsis else [(*args, Any)[0]] * len(items)
        if len(items) != len(kinds):
            return self.fault(path, given, f"Expected {len(kinds)} items. Got {len(items)}.")
        pairs = enumerate(zip(items, kinds, strict=True))
        return [self.read(item, kind, joined(path, item.name(i))) for i, (item, kind) in pairs]


def as_flag(given: Given) -> bool | None:
    return given.value if isinstance(given.value, bool) else None


def as_number(given: Given) -> float | None:
    return float(given.value) if isinstance(given.value, int | float) and not isinstance(given.value, bool) else None


def as_whole(given: Given) -> int | None:
    number = as_number(given)
    return int(given.value) if number is not None and number.is_integer() else None


def as_text(given: Given) -> str | None:
    if isinstance(given.value, str):
        return given.value
    return None if as_number(given) is None else given.text


SINGLE: dict[Any, tuple[str, Callable[[Given], Any]]] = {
    bool: ("true or false", as_flag),
    int: ("a whole number", as_whole),
    float: ("a number", as_number),
    str: ("text", as_text),
    Path: ("text", as_text),
}


def choices(kind: Any) -> list[Any]:
    """The values of a Literal or an Enum; of any other type none."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [member.value for member in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def said(kind: Any) -> str:
    """A type in words."""
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin in SINGLE:
        return SINGLE[origin][0]
    if named := choices(kind):
        return f"one of {', '.join(map(str, named))}"
    if origin is Annotated:
        return said(args[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(said(one) for one in args))
    if kind is type(None):
        return "null"
    return "a list" if origin in (list, tuple, Sequence) else "a mapping"


def shown(given: Given) -> str:
    """A value in a message."""
    text = repr(given.plain()) if isinstance(given.value, str | list | dict) else given.text or "nothing"
    return text if len(text) <= 60 else f"{text[:57]}..."


def required(kind: Any) -> list[str]:
    return [part.name for part in fields(kind) if part.default is MISSING and part.default_factory is MISSING]


def field_kinds(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {part.name: hints[part.name] for part in fields(kind)}


def defaults(kind: Any) -> Given:
    """What a recipe is before anyone says anything."""
    made = {
        part.name: part.default if part.default_factory is MISSING else part.default_factory()
        for part in fields(kind)
        if part.name not in required(kind)
    }
    return Given.of(made, "")


def walk(kind: Any, path: str = "") -> Iterator[tuple[str, Any, str]]:
    """The dotted path, the type and the help of every field, those of sections and of NAME in a list after it."""
    kinds = field_kinds(kind)
    for part in fields(kind):
        hint, place = kinds[part.name], joined(path, part.name)
        yield place, hint, part.metadata.get("help", "")
        if get_origin(hint) is list and get_origin(get_args(hint)[0]) is Annotated:
            hint, place = get_args(get_args(hint)[0])[0], joined(place, "NAME")
            if is_dataclass(hint):
                yield place, hint, ""
        if is_dataclass(hint):
            yield from walk(hint, place)


def marker_of(hint: Any) -> Any:
    """What marks a type, the items of a list, or what may be null."""
    item = get_args(hint)[0] if get_origin(hint) is list else hint
    if get_origin(item) in (Union, types.UnionType):
        item = next((one for one in get_args(item) if get_origin(one) is Annotated), item)
    return get_args(item)[1] if get_origin(item) is Annotated else None


def shorthands(kind: Any) -> dict[str, tuple[str, str]]:
    """The place and the class of each option that chooses a class: {data_dir: (data.source, Course)}."""
    return {
        name: (path, member)
        for path, hint, _ in walk(kind)
        if isinstance(marker := marker_of(hint), MemberOf)
        for name, member in marker.shorthands.items()
    }


def deeper(kind: Any) -> dict[str, str]:
    """The dotted path of every field that is not at the top, by its last name."""
    found: dict[str, str] = {}
    for path, hint, _ in walk(kind):
        if isinstance(marker := marker_of(hint), OptionsOf):
            found |= {name: joined(path, name) for name in marker.open}
        if "." in path:
            found[path.rpartition(".")[2]] = path
    return found
