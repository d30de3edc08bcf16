import sys
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest

from hf_multitask.models.construct import construct
from hf_multitask.recipe import RecipeError, read_recipe, run, write_recipe
from hf_multitask.schema import MemberOf, Preset


class Near:
    def __init__(self, folder: str, *, deep: bool = False):
        pass


class Far:
    def __init__(self, *, host: str = "far", port: int = 80):
        pass


PLACES = {"Near": Near, "Far": Far}


@dataclass
class Dish:
    name: str
    price: float
    tags: list[str] = field(default_factory=list)


@dataclass
class Kitchen:
    """Where it is cooked."""

    cooks: int = 1
    place: Annotated[dict[str, Any], MemberOf("place", PLACES, shorthands={"folder": "Near"})] = field(
        default_factory=lambda: {"class": "Far"}
    )


@dataclass
class Menu:
    """Cook a meal."""

    title: str = "menu"
    open: bool = False
    price: float = 1.0
    note: str | None = None
    courses: list[str] = field(default_factory=list)
    dishes: list[Annotated[Dish, Preset("dish", {"soup": {"name": "soup", "price": 3.0}})]] = field(
        default_factory=lambda: [Dish("soup", 3.0)]
    )
    kitchen: Kitchen = field(default_factory=Kitchen)


def faults(*argv, default=None):
    with pytest.raises(RecipeError) as caught:
        read_recipe(Menu, argv, default=default)
    return list(caught.value.faults)


@pytest.fixture
def yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="a.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        return name

    return write


def test_nothing_said_is_the_defaults():
    assert read_recipe(Menu, []) == Menu()


def test_layers_change_those_below(yaml):
    yaml("title: base\nprice: 1e1\nnote: kept\n", "below/base.yaml")
    yaml("base: below/base.yaml\ntitle: first\nkitchen: {cooks: 2}\n", "first.yaml")
    yaml("kitchen: {place: {port: 8080}}\n", "second.yaml")
    menu = read_recipe(Menu, ["--config", "first.yaml", "--config=second.yaml", "--title", "typed"], default="x.yaml")
    assert menu == Menu("typed", price=10.0, note="kept", kitchen=Kitchen(2, {"class": "Far", "port": 8080}))
    assert read_recipe(Menu, [], default="first.yaml").title == "first"


@pytest.mark.parametrize("text", ["", "# nothing\n", "kitchen:\n", "null", "\ufeff"])
def test_an_empty_file_says_nothing(yaml, text):
    assert read_recipe(Menu, ["--config", yaml(text)]) == Menu()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--open"], {"open": True}),
        (["--open", "--price", "2"], {"open": True, "price": 2.0}),
        (["--open", "false"], {"open": False}),
        (["--price=-2e-5"], {"price": -2e-5}),
        (["--price", "-2e-5"], {"price": -2e-5}),
        (["--note", "a: b #c"], {"note": "a: b #c"}),
        (["--note", "null"], {"note": None}),
        (["--note", "2024"], {"note": "2024"}),
        (["--note=--x=y"], {"note": "--x=y"}),
        (["--courses", "first,second"], {"courses": ["first", "second"]}),
        (["--courses", "[first, 'no']"], {"courses": ["first", "no"]}),
        (["--courses", "one"], {"courses": ["one"]}),
        (["--courses", "[]"], {"courses": []}),
        (["--kitchen.cooks", "3"], {"kitchen": Kitchen(3)}),
        (["--kitchen", "{cooks: 3}"], {"kitchen": Kitchen(3)}),
        (["--kitchen.place.port=1"], {"kitchen": Kitchen(place={"class": "Far", "port": 1})}),
        (["--folder", "a b"], {"kitchen": Kitchen(place={"class": "Near", "folder": "a b"})}),
        (["--dishes.soup.price", "4"], {"dishes": [Dish("soup", 4.0)]}),
        (["--dishes.0.tags", "hot,red"], {"dishes": [Dish("soup", 3.0, ["hot", "red"])]}),
        (["--dishes", "[{name: pie, price: 5}, soup]"], {"dishes": [Dish("pie", 5.0), Dish("soup", 3.0)]}),
    ],
)
def test_the_command_line_sets_any_field(argv, expected):
    assert read_recipe(Menu, argv) == Menu(**expected)


@pytest.mark.parametrize("turn", [1, -1])
def test_the_order_on_the_command_line_does_not_matter(turn):
    pairs = [
        ("--kitchen.place.class", "Near"),
        ("--kitchen.place.folder", "here"),
        ("--kitchen", "{cooks: 2}"),
        ("--dishes", "soup,soup"),
        ("--dishes.1.price", "5"),
    ]
    menu = read_recipe(Menu, [word for pair in pairs[::turn] for word in pair])
    assert menu.kitchen == Kitchen(2, {"class": "Near", "folder": "here"})
    assert menu.dishes == [Dish("soup", 3.0), Dish("soup", 5.0)]


def test_another_class_drops_the_options_of_the_file(yaml):
    yaml("kitchen: {place: {class: Far, port: 8080}}")
    menu = read_recipe(Menu, ["--config", "a.yaml", "--kitchen.place.class", "Near", "--kitchen.place.folder", "here"])
    assert menu.kitchen.place == {"class": "Near", "folder": "here"}


def test_what_was_typed_is_never_dropped():
    assert faults("--folder", "here", "--kitchen.place.class", "Far") == [
        "kitchen.place: Unknown option of Far 'folder'. Choices: host, port. (command line)"
    ]


def test_every_fault_of_files_and_command_line_comes_in_one_message(yaml):
    yaml("price: high\nkichen: {cooks: 2}\n", "base.yaml")
    yaml(
        "base: base.yaml\n"
        "open: yes\n"
        "kitchen:\n"
        "  cooks: 2\n"
        "  cooks: 3\n"
        "  place:\n"
        "    class: Near\n"
        "    depp: true\n"
        "dishes:\n"
        "  - soop\n"
    )
    assert faults("--config", "a.yaml", "lunch", "--titel", "x", "--cooks", "3", "--courses.b", "c", "--price") == [
        "Options begin with two dashes. Got 'lunch'. (command line)",
        "'cooks' is there twice. (a.yaml:5)",
        "courses: Unknown item 'b'. Choices: none. (command line)",
        "open: Expected true or false. Got 'yes'. (a.yaml:2)",
        "price: Expected a number. Got true. (command line, without a value)",
        "dishes.soop: Unknown dish 'soop'. Did you mean 'soup'? Choices: soup. Any other dish needs price. (a.yaml:10)",
        "kitchen.place: Unknown option of Near 'depp'. Did you mean 'deep'? Choices: folder, deep. Near needs 'folder'."
        " (a.yaml:6)",
        "Unknown option 'kichen'. Did you mean 'kitchen'? "
        "Choices: title, open, price, note, courses, dishes, kitchen. (base.yaml:2)",
        "Unknown option 'titel'. Did you mean 'title'? "
        "Choices: title, open, price, note, courses, dishes, kitchen. (command line)",
        "Unknown option 'cooks'. Did you mean 'kitchen.cooks'? (command line)",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [1, 2\nb: 3\n", "This is not YAML: expected ',' or ']', but got ':'. (a.yaml:2)"),
        ("a: *b\n", "This is not YAML: found undefined alias 'b'. (a.yaml:1)"),
        ("a: \x07\n", "This is not YAML: special characters are not allowed at character 3. (a.yaml)"),
        ("- a\n", "A recipe is a mapping, `name: value` in each line. (a.yaml:1)"),
        ("title: !!python/name:os.system x\n", "mean nothing here. (a.yaml:1)"),
        ("title: !important x\n", "Tags such as !important mean nothing here. (a.yaml:1)"),
        ("? [a]\n: b\n", "A key must be one word. (a.yaml:1)"),
        ("base: a.yaml\n", "a.yaml is based on itself, by way of a.yaml."),
        ("base: [b.yaml]\n", "base: Expected the name of a file. Got ['b.yaml']. (a.yaml:1)"),
        ("base: b.yaml\n", "Cannot read b.yaml: No such file or directory. The folder holds a.yaml."),
    ],
)
def test_what_is_wrong_with_a_file_is_named(yaml, text, fault):
    (found,) = faults("--config", yaml(text))
    assert found.endswith(fault)


def test_files_that_cannot_be_read_are_named(yaml, tmp_path):
    (tmp_path / "latin.yaml").write_bytes("title: é".encode("latin-1"))
    (tmp_path / "folder").mkdir()
    assert faults("--config", "latin.yaml", "--config", "folder", "--config") == [
        "--config needs the name of a file. (command line)",
        "latin.yaml is not UTF-8. Save it as UTF-8.",
        "Cannot read folder: Is a directory. The folder holds latin.yaml.",
    ]


def test_brackets_that_do_not_close_are_a_fault():
    assert faults("--courses", "[a")[0].startswith("This is not YAML: ")


NASTY = [
    "",
    "no",
    "null",
    "2e-5",
    "1",
    "true",
    "~",
    "a: b",
    "# x",
    "- y",
    "{z",
    "é ü 漢",
    "a\nb",
    " c ",
    "'",
    '"',
    "*d",
]


def test_a_written_recipe_reads_back_equal(tmp_path):
    menu = Menu("no", price=2e-5, note="2e-5", courses=NASTY, kitchen=Kitchen(2, {"class": "Far", "host": "null"}))
    path = write_recipe(menu, tmp_path / "new")
    assert path == tmp_path / "new" / "recipe.yaml"
    assert read_recipe(Menu, ["--config", str(path)]) == menu


def test_recipes_share_nothing():
    first, second = read_recipe(Menu, []), read_recipe(Menu, [])
    first.kitchen.place["class"] = "Near"
    first.dishes[0].tags.append("hot")
    assert second == Menu()


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_is_printed_whatever_else_is_wrong(yaml, capsys, word):
    yaml("kitchen: {cooks: many}\nprice: 2\n")
    with pytest.raises(SystemExit) as stopped:
        read_recipe(Menu, ["--nonsense", "1", word], default="a.yaml")
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "Cook a meal." in text
    assert "values in a.yaml" in text
    assert "[2]" in text
    assert "[many]" in text


def fail(error):
    def main(argv):
        raise error

    return main


def test_run_prints_faults_of_a_recipe_alone(capsys):
    assert run(lambda argv: read_recipe(Menu, ["--prize", "3"])) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("The recipe has a fault:\n- Unknown option 'prize'. Did you mean 'price'?")
    assert "Traceback" not in said.err


def test_run_prints_what_the_package_raises_alone(capsys):
    assert run(lambda argv: construct("place", PLACES, {"class": "Nearr"})) == 1
    assert capsys.readouterr().err == "Unknown place 'Nearr'. Did you mean 'Near'? Choices: Near, Far.\n"


@pytest.mark.parametrize("error", [ValueError("of another package"), KeyError("x"), SystemExit(3), TypeError("y")])
def test_run_leaves_other_errors_their_traceback(error):
    with pytest.raises(type(error)):
        run(fail(error))


def test_run_leaves_operations_that_fail_inside_the_package_their_traceback():
    with pytest.raises(OSError, match="Not a directory"):
        run(lambda argv: write_recipe(Menu(), "/dev/null/folder"))


def test_run_gives_main_the_words_and_returns_zero(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--open"])
    got = []
    assert run(got.extend) == 0
    assert got == ["--open"]


def test_processes_do_not_repeat_what_each_of_them_finds(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert run(fail(RecipeError(["x"]))) == 1
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("hf_multitask.recipe.raised_here", lambda error: True)
    assert run(fail(RuntimeError("broke here alone"))) == 1
    assert capsys.readouterr().err == "[rank 1] broke here alone\n"
