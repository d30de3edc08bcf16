from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from hf_multitask.given import Given
from hf_multitask.recipe import read_recipe
from hf_multitask.schema import MemberOf, OptionsOf, Preset, Reader, RecipeError
from hf_multitask.sections.train import TrainRecipe


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Circle:
    def __init__(self, radius: float, *, label: str | None = None):
        if radius <= 0:
            raise ValueError(f"A radius is above zero. Got {radius:g}.")


class Square:
    def __init__(self, pen: Any, *, side: int = 1):
        raise AssertionError("never built: the program supplies the pen")


SHAPES = {"Circle": Circle, "Square": Square}
ShapeOptions = Annotated[dict[str, Any], MemberOf("shape", {"Circle": Circle})]
PennedOptions = Annotated[dict[str, Any], MemberOf("shape", SHAPES, given=("pen",))]
CircleOptions = Annotated[dict[str, Any], OptionsOf(Circle, {"radius": float, "seed": int}, elsewhere={"seed": "seed"})]


@dataclass
class Item:
    name: str
    size: int
    tint: float = 0.5


@dataclass
class Page:
    title: str
    lines: int = 3
    shape: ShapeOptions = field(default_factory=lambda: {"class": "Circle", "radius": 1.0})
    items: list[Annotated[Item, Preset("item", {"dot": {"name": "dot", "size": 1}})]] = field(default_factory=list)

    def __post_init__(self):
        if self.lines < 1:
            raise RecipeError(["Too few lines.", "Really too few."])


def read(value, kind):
    reader = Reader()
    return reader.read(value if isinstance(value, Given) else Given.of(value, "here"), kind, "it"), reader.faults


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (bool, False, False),
        (int, 3, 3),
        (int, 1e3, 1000),
        (float, 3, 3.0),
        (str, "a", "a"),
        (str, 12345678, "12345678"),
        (Path, "a/b", "a/b"),
        (Path | str | None, None, None),
        (int | None, None, None),
        (float | int, 0, 0.0),
        (str | bool, True, True),
        (Literal["no", "yes"], "no", "no"),
        (Literal["inf", "2"], 2, "2"),
        (Color, "red", "red"),
        (Color | str, "blue", "blue"),
        (list[int], [1, 2], [1, 2]),
        (list[int], "1, 2", [1, 2]),
        (list[str], "one", ["one"]),
        (list[str], None, []),
        (list[str] | None, None, None),
        (Sequence[str], ["no", 5], ["no", "5"]),
        (tuple[tuple[float, float], tuple[float, float]], [[1, 5], [0, 5]], [[1.0, 5.0], [0.0, 5.0]]),
        (tuple[str, ...], ["a", "b", "c"], ["a", "b", "c"]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Mapping[str, str], None, {}),
        (dict, {"a": [1, None]}, {"a": [1, None]}),
        (dict | str, "file.json", "file.json"),
        (Any, {"a": 1}, {"a": 1}),
        (Item, {"name": "a", "size": 2}, Item("a", 2)),
        (ShapeOptions, {"class": "Circle", "radius": 2}, {"class": "Circle", "radius": 2.0}),
        (ShapeOptions | None, None, None),
        (PennedOptions, {"class": "Square", "side": 2}, {"class": "Square", "side": 2}),
        (CircleOptions, {"radius": 2}, {"radius": 2.0}),
        (CircleOptions, None, {}),
        (dict[str, int], {"kept": 1, "taken back": None}, {"kept": 1}),
        (dict[str, list[str]], {"taken back": None}, {}),
        (dict[str, int | None], {"null": None}, {"null": None}),
        (dict[str, Any], {"null": None}, {"null": None}),
    ],
)
def test_what_fits_is_read(kind, value, expected):
    got, faults = read(value, kind)
    assert faults == []
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value", "fault"),
    [
        (bool, "yes", "it: Expected true or false. Got 'yes'. (here)"),
        (bool, 1, "it: Expected true or false. Got 1. (here)"),
        (int, 1.5, "it: Expected a whole number. Got 1.5. (here)"),
        (int, True, "it: Expected a whole number. Got true. (here)"),
        (int, float("inf"), "it: Expected a whole number. Got inf. (here)"),
        (float, "fast", "it: Expected a number. Got 'fast'. (here)"),
        (float, None, "it: Expected a number. Got null. (here)"),
        (str, True, "it: Expected text. Got true. (here)"),
        (str, {"a": 1}, "it: Expected text. Got {'a': 1}. (here)"),
        (str, "x", None),
        (int | None, "x", "it: Expected a whole number or null. Got 'x'. (here)"),
        (float | int | None, "x", "it: Expected a number or a whole number or null. Got 'x'. (here)"),
        (Literal["sum", "mean"], "summ", "it: Unknown choice 'summ'. Did you mean 'sum'? Choices: sum, mean. (here)"),
        (Literal["sum", "mean"], 3, "it: Expected one of sum, mean. Got 3. (here)"),
        (Color | str, "rad", "it: Unknown choice 'rad'. Did you mean 'red'? Choices: red, blue. (here)"),
        (list[int], {"a": 1}, "it: Expected a list. Got {'a': 1}. (here)"),
        (list[int], [1, "b"], "it.b: Expected a whole number. Got 'b'. (here)"),
        (list[int], [1, 1.5], "it.1: Expected a whole number. Got 1.5. (here)"),
        (tuple[float, float], [1], "it: Expected 2 items. Got 1. (here)"),
        (dict[str, int], {"a": "b"}, "it.a: Expected a whole number. Got 'b'. (here)"),
        (dict[str, int] | None, {"a": "b"}, "it.a: Expected a whole number. Got 'b'. (here)"),
        (dict[str, int] | str, {"a": "b"}, "it.a: Expected a whole number. Got 'b'. (here)"),
        (dict, [1], "it: Expected a mapping. Got [1]. (here)"),
        (Item, "a", "it: Expected a mapping. Got 'a'. (here)"),
        (Item, {"name": "a"}, "it: 'size' is needed. (here)"),
        (
            Item,
            {"name": "a", "size": 1, "tin": 0},
            "Unknown option 'tin'. Did you mean 'tint'? Choices: name, size, tint.",
        ),
        (ShapeOptions, "Circle", "it: A shape is described as {class: Name, ...}. Got 'Circle'. (here)"),
        (ShapeOptions, {"radius": 1}, "it: A shape is described as {class: Name, ...}. Got {'radius': 1}. (here)"),
        (ShapeOptions, {"class": "Circl"}, "it: Unknown shape 'Circl'. Did you mean 'Circle'? Choices: Circle. (here)"),
        (ShapeOptions, {"class": ["Circle"]}, "it: Unknown shape '['Circle']'. Did you mean 'Circle'?"),
        (ShapeOptions, {"class": "Circle"}, "it: Circle needs 'radius'. (here)"),
        (ShapeOptions, {"class": "Circle", "radius": 0}, "it: A radius is above zero. Got 0. (here)"),
        (ShapeOptions, {"class": "Circle", "radius": "a"}, "it.radius: Expected a number. Got 'a'. (here)"),
        (PennedOptions, {"class": "Square", "pen": 1}, "it: Unknown option of Square 'pen'. Choices: side. (here)"),
        (PennedOptions, {"class": "Square", "side": 1.5}, "it.side: Expected a whole number. Got 1.5. (here)"),
        (CircleOptions, {"radios": 1}, "it: Unknown field of Circle 'radios'. Did you mean 'radius'? Choices: radius."),
        (CircleOptions, {"seed": 1}, "it.seed: Set 'seed' at the top of the recipe instead. (here)"),
        (CircleOptions, [1], "it: Expected a mapping. Got [1]. (here)"),
    ],
)
def test_what_does_not_fit_is_named(kind, value, fault):
    _, faults = read(value, kind)
    assert len(faults) == (fault is not None)
    assert not faults or fault in faults[0]


def test_a_long_value_is_cut_in_a_message():
    _, (fault,) = read("x" * 500, int)
    assert len(fault) < 120


def test_many_choices_are_not_listed():
    kinds = {f"option{i}": int for i in range(50)}
    _, (fault,) = read({"optoin7": 1}, Annotated[dict, OptionsOf(Circle, kinds)])
    assert fault == "it: Unknown field of Circle 'optoin7'. Did you mean 'option7'? (here)"


def test_a_ready_item_is_named_or_changed():
    page, faults = read({"title": "a", "items": ["dot", {"name": "dot", "tint": 1}, {"name": "x", "size": 9}]}, Page)
    assert faults == []
    assert page.items == [Item("dot", 1), Item("dot", 1, 1.0), Item("x", 9)]


def test_an_item_that_is_not_ready_must_be_whole():
    _, faults = read({"title": "a", "items": ["dott", {"name": "dop", "tint": "dark"}, {"size": 1}]}, Page)
    assert faults == [
        "it.items.dott: Unknown item 'dott'. Did you mean 'dot'? Choices: dot. Any other item needs size. (here)",
        "it.items.dop: Unknown item 'dop'. Did you mean 'dot'? Choices: dot. Any other item needs size. (here)",
        "it.items.dop.tint: Expected a number. Got 'dark'. (here)",
        "it.items.2: 'name' is needed. (here)",
    ]


def test_every_fault_is_kept_and_each_has_its_place():
    spec = {
        "lines": Given.word("three", "a.yaml:2"),
        "shape": Given({"class": Given.word("Circle", "a.yaml:3"), "radus": Given.word("1", "a.yaml:4")}, "a.yaml:3"),
        "items": Given.of([{"name": "x", "size": "big"}], "command line"),
    }
    reader = Reader()
    assert reader.read(Given(spec, "a.yaml"), Page) is None
    assert reader.faults == [
        "lines: Expected a whole number. Got 'three'. (a.yaml:2)",
        "shape: Unknown option of Circle 'radus'. Did you mean 'radius'? Choices: radius, label. Circle needs 'radius'."
        " (a.yaml:3)",
        "items.x.size: Expected a whole number. Got 'big'. (command line)",
        "'title' is needed.",
    ]


def test_what_a_section_says_of_itself_is_kept_fault_by_fault():
    _, faults = read({"title": "a", "lines": 0}, Page)
    assert faults == ["it: Too few lines. (here)", "it: Really too few. (here)"]


def test_an_option_that_belongs_elsewhere_is_sent_there():
    reader = Reader()
    reader.read(Given.of({"title": "a", "tint": 1}, "here"), Page)
    assert reader.faults == ["Unknown option 'tint'. Did you mean 'items.NAME.tint'? (here)"]


def test_the_message_lists_the_faults():
    assert str(RecipeError(["one", "two"])) == "The recipe has 2 faults:\n- one\n- two"
    assert str(RecipeError(["one"])) == "The recipe has a fault:\n- one"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("all-linear", "all-linear"),
        (r".*\.(query|value)", r".*\.(query|value)"),
        ("query", ["query"]),
        ("query,value", ["query", "value"]),
    ],
)
def test_a_text_that_lists_no_names_is_one_text(word, value):
    recipe = read_recipe(TrainRecipe, ["--tuner.class", "LoraConfig", "--tuner.target_modules", word])
    assert recipe.tuner["target_modules"] == value
