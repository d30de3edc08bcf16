"""What people wrote, and where: values of a recipe before anyone knows what they are for."""

import re
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from .models.construct import unknown

__all__ = ["Given", "joined", "nested", "overlay"]

WORDS = {"null": None, "~": None, "true": True, "false": False}
WHOLE = re.compile(r"[-+]?\d+")
NUMBER = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|[-+]?\.inf|\.nan")


class Given(NamedTuple):
    """A value, and where it was written: None, a bool, a number, text, a list of Given or a dict of them.

    `text` is what was written of a single value: a revision of 12345678 is text if its field is, and null is written.
    """

    value: Any
    origin: str
    text: str = ""

    @classmethod
    def word(cls, text: str, origin: str) -> "Given":
        """A bare word as YAML 1.2 reads it, where `no` is a word and 2e-5 a number.

        >>> Given.word("2e-5", "here").value
        2e-05
        """
        if not text:
            return cls(None, origin)
        if text.lower() in WORDS:
            return cls.of(WORDS[text.lower()], origin)
        if WHOLE.fullmatch(text):
            return cls(int(text), origin, text)
        if NUMBER.fullmatch(text):
            return cls(float(re.sub(r"\.(?=inf|nan)", "", text)), origin, text)
        return cls(text, origin, text)

    @classmethod
    def of(cls, value: Any, origin: str) -> "Given":
        """Wrap plain values and dataclasses, all the way down."""
        if is_dataclass(value):
            value = {part.name: vars(value)[part.name] for part in fields(value)}
        if isinstance(value, dict):
            return cls({str(key): cls.of(child, origin) for key, child in value.items()}, origin)
        if isinstance(value, list | tuple):
            return cls([cls.of(child, origin) for child in value], origin)
        return cls(value, origin, next((word for word, meant in WORDS.items() if value is meant), str(value)))

    def plain(self) -> Any:
        """The value alone, all the way down."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        return [child.plain() for child in self.value] if isinstance(self.value, list) else self.value

    def items(self) -> list["Given"]:
        """The items of a list, of words with commas between them, or of nothing."""
        if isinstance(self.value, list):
            return self.value
        words = [] if self.value is None else self.text.split(",")
        return [Given.word(word.strip(), self.origin) for word in words]

    def name(self, default: Any) -> str:
        """What an item of a list is called: itself, or the name in it."""
        inner = self.value.get("name") if isinstance(self.value, dict) else self
        return inner.value if inner and isinstance(inner.value, str) else str(default)


def overlay(below: Given, above: Given, faults: list[str], path: str = "") -> Given:
    """`below` with what `above` says otherwise, mappings key by key.

    A mapping of another `class` replaces the old one, whose options mean nothing to it. A mapping over a list
    changes the items that its keys name, or count from 0. What somebody wrote is taken back by null alone, and not by
    an empty line.
    """
    old, new = below.value, above.value
    if new is None and not above.text and below.origin and old and isinstance(old, dict | list):
        back = "Leave this line out to keep that, or write null to take it back."
        faults.append(f"{path}: Nothing stands here, and what it is based on says something. {back} ({above.origin})")
    if isinstance(new, dict) and "class" not in new and isinstance(old, list | str):
        return Given(changed(below.items(), new, faults, path), above.origin)
    if not (isinstance(new, dict) and isinstance(old, dict)) or another_class(old, new):
        return above
    merged = {
        key: overlay(old[key], child, faults, joined(path, key)) if key in old else child for key, child in new.items()
    }
    return Given({**old, **merged}, above.origin)


def nested(path: str, given: Given) -> Given:
    """A value inside the mappings of a dotted path."""
    for key in reversed(path.split(".")):
        given = Given({key: given}, given.origin)
    return given


def changed(items: list[Given], changes: dict[str, Given], faults: list[str], path: str) -> list[Given]:
    items = list(items)
    names = [item.name(i) for i, item in enumerate(items)]
    for key, change in changes.items():
        if key not in names and key not in map(str, range(len(items))):
            faults.append(f"{path}: {unknown('item', key, names)} ({change.origin})")
            continue
        i = names.index(key) if key in names else int(key)
        whole = isinstance(items[i].value, dict)
        items[i] = overlay(items[i] if whole else Given({"name": items[i]}, items[i].origin), change, faults, path)
    return items


def another_class(old: dict[str, Given], new: dict[str, Given]) -> bool:
    return "class" in old and "class" in new and old["class"].value != new["class"].value


def joined(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
