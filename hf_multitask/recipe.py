"""Recipes from YAML files and the command line: the one module that knows either."""

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import yaml

from .given import Given, joined, nested, overlay
from .help import help_text
from .report import replace_text
from .schema import Reader, RecipeError, defaults, shorthands
from .training.interruptions import Interrupted

__all__ = [
    "STOPPED",
    "RecipeError",
    "as_written",
    "layer_text",
    "read_recipe",
    "read_yaml",
    "run",
    "said_in",
    "write_recipe",
    "yaml_text",
]

R = TypeVar("R")
WIDTH = 100
STOPPED = 143
"""The exit code of a run that was told to stop, as shells know it."""
KERNELS = 128
"""How many kernels oneDNN keeps, instead of 1024: each holds memory, and training meets other lengths in each step."""
EXTRAS = {
    "optuna": "tune",
    "matplotlib": "plots",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "deepspeed": "deepspeed",
    "smart_pytorch": "bench",
}
"""Which of the package's extras brings a package that not all recipes need."""
HERE = "command line"
TRUNK = "model.trunk"

logger = logging.getLogger(__name__)

PLAIN = [f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str")]
Setting = tuple[str, Given]
Where = Callable[[yaml.Mark | None], str]
"""Says where a mark of YAML's is."""


def read_recipe(
    kind: type[R], argv: Sequence[str], *, default: str | Path | None = None, upon: Mapping[str, Any] | None = None
) -> R:
    """The recipe of dataclass `kind` that YAML files and the command line describe.

    Each layer changes the one below: the dataclass's own defaults; what it is built `upon`; each `--config FILE`, or
    `default` where there is none, upon the file that its `base` names; then `--section.field value`. Every fault of
    all of them is raised in one RecipeError. `--help` prints what there is to set, and exits.
    """
    faults: list[str] = []
    typed = command_line(kind, argv, faults)
    files = [given.text for path, given in typed if path == "config"] or ([] if default is None else [str(default)])
    given = overlay(defaults(kind), Given.of(dict(upon or {}), ""), faults)
    for file in files:
        given = overlay(given, read_file(Path(file), faults), faults)
    for path, value in typed:
        if path not in ("config", "help"):
            given = overlay(given, nested(path, value), faults)
    if any(path == "help" for path, _ in typed):
        print(help_text(kind, given, files))
        raise SystemExit(0)
    reader = Reader()
    recipe = reader.read(given, kind)
    if faults or reader.faults:
        raise RecipeError([*faults, *reader.faults])
    trunk = next((value.value for path, value in reversed(typed) if path == TRUNK), None)
    if trunk and default is not None and files == [str(default)]:
        logger.warning(
            "Without --config, what is not said is as in %s: learning rate, lengths and heads for a tiny new trunk. "
            "For %s begin with a file of your own, or with one in recipes/configs.",
            Path(default).name,
            trunk,
        )
    return recipe


def write_recipe(recipe: Any, folder: str | os.PathLike, name: str = "recipe.yaml") -> Path:
    """Write the whole recipe as a file that reads back equal."""
    path = Path(folder, name)
    write_yaml(asdict(recipe), path)
    return path


def layer_text(*, base: Path | None, settings: dict[str, Any]) -> str:
    """A recipe that changes some settings of another one, the file `base`, or of the program."""
    return yaml_text({**({} if base is None else {"base": str(base.resolve())}), **settings})


def write_yaml(content: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, yaml_text(content))


def yaml_text(content: dict[str, Any]) -> str:
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)


def as_written(recipe: Any) -> dict[str, Any]:
    """What `read_yaml` gives of a recipe once it is written."""
    return yaml.safe_load(yaml_text(asdict(recipe)))


def read_yaml(path: Path) -> dict[str, Any] | None:
    """What a recipe that a run left says, if there is one."""
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None


def said_in(path: Path) -> dict[str, Any]:
    """What a recipe file says, and what the files say that it is based on."""
    faults: list[str] = []
    given = read_file(path, faults)
    if faults:
        raise RecipeError(faults)
    return given.plain()


def run(main: Callable[[list[str]], object]) -> int:
    """Call `main` with the command line's words and give the exit code.

    A fault of the recipe, and any ValueError, RuntimeError or OSError that this package raises, is a sentence for
    the user and printed alone, and so is what to install where an extra is lacking; the rest keeps its traceback.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    try:
        main(sys.argv[1:])
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        print(f'{package} is not installed. `pip install -e ".[{EXTRAS[package]}]"` brings it.', file=sys.stderr)
        return 1
    except (ValueError, RuntimeError, OSError) as error:
        if not isinstance(error, RecipeError) and not raised_here(error):
            raise
        rank = int(os.environ.get("RANK", 0))
        # What is wrong with the input, every process finds; what breaks on the way may break in one alone.
        if rank == 0 or not isinstance(error, ValueError):
            print(f"[rank {rank}] {error}" if rank else error, file=sys.stderr)
        tell_launcher(error)
        return STOPPED if isinstance(error, Interrupted) else 1
    return 0


def tell_launcher(error: BaseException) -> None:
    """Leave the sentence where torch's launcher looks for it: it ends with a report of its own, and shows it there."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        extra = {"py_callstack": str(error), "timestamp": str(int(time.time()))}
        Path(file).write_text(json.dumps({"message": {"message": str(error), "extraInfo": extra}}), encoding="utf-8")


def raised_here(error: BaseException) -> bool:
    """Whether a `raise` of this package made the error, not a library or an operation that failed."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return Path(last.filename).is_relative_to(Path(__file__).parent) and (last.line or "").startswith("raise ")


class Dumper(yaml.SafeDumper):
    """Quotes every text that would be read as something else, here or by YAML 1.1."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        style = None if isinstance(Given.word(data, "").value, str) else "'"
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


Dumper.add_representer(str, Dumper.represent_text)


def read_file(path: Path, faults: list[str], above: tuple[Path, ...] = ()) -> Given:
    """What a YAML file says over what its `base` says."""
    nothing = Given({}, str(path))
    if path.resolve() in above:
        faults.append(f"{path} is based on itself, by way of {above[-1].name}.")
        return nothing
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        faults.append(f"Cannot read {path}: {error.strerror}.{beside(path)}")
        return nothing
    except UnicodeDecodeError:
        faults.append(f"{path} is not UTF-8. Save it as UTF-8.")
        return nothing
    given = parse(text, lambda mark: f"{path}:{mark.line + 1}" if mark else str(path), faults)
    if given.value is None:
        return nothing
    if not isinstance(given.value, dict):
        faults.append(f"A recipe is a mapping, `name: value` in each line. ({given.origin})")
        return nothing
    base = given.value.pop("base", None)
    if base is None:
        return given
    if not isinstance(base.value, str):
        faults.append(f"base: Expected the name of a file. Got {base.plain()!r}. ({base.origin})")
        return given
    return overlay(read_file(path.parent / base.value, faults, (*above, path.resolve())), given, faults)


def beside(path: Path) -> str:
    """The recipes that do lie where `path` was looked for."""
    files = sorted(file.name for file in path.parent.glob("*.yaml"))
    return f" The folder holds {', '.join(files)}." if files else ""


def parse(text: str, where: Where, faults: list[str]) -> Given:
    """The values of a YAML text, each with the place of its key."""
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        faults.append(f"This is not YAML: {error.problem}. ({where(error.problem_mark)})")
        return Given(None, "")
    except yaml.reader.ReaderError as error:
        faults.append(f"This is not YAML: {error.reason} at character {error.position}. ({where(None)})")
        return Given(None, "")
    return Given(None, "") if node is None else written(node, node, where, faults)


def written(node: yaml.Node, key: yaml.Node, where: Where, faults: list[str]) -> Given:
    origin = where(key.start_mark)
    if node.tag not in PLAIN:
        faults.append(f"Tags such as {node.tag} mean nothing here. ({origin})")
    if isinstance(node, yaml.SequenceNode):
        return Given([written(item, item, where, faults) for item in node.value], origin)
    if isinstance(node, yaml.ScalarNode):
        return Given(node.value, origin, node.value) if node.style else Given.word(node.value, origin)
    mapping: dict[str, Given] = {}
    for name, child in node.value:
        if not isinstance(name, yaml.ScalarNode):
            faults.append(f"A key must be one word. ({where(name.start_mark)})")
        elif name.value in mapping:
            faults.append(f"'{name.value}' is there twice. ({where(name.start_mark)})")
        else:
            mapping[name.value] = written(child, name, where, faults)
    return Given(mapping, origin)


def command_line(kind: type, argv: Sequence[str], faults: list[str]) -> list[Setting]:
    """What the command line sets, in the order in which it counts."""
    settings: list[Setting] = []
    short = shorthands(kind)
    for name, text in words(argv, faults):
        if name in short:
            path, member = short[name]
            settings.append((f"{path}.class", Given.word(member, HERE)))
            settings.append((joined(path, name), value(text, faults)))
        elif name == "config" and not text:
            faults.append(f"--config needs the name of a file. ({HERE})")
        else:
            settings.append((name, value(text, faults)))
    # A whole before its parts and a class before its options, in whatever order they were typed.
    return sorted(settings, key=lambda setting: (setting[0].count("."), not setting[0].endswith(".class")))


def words(argv: Sequence[str], faults: list[str]) -> Iterator[tuple[str, str | None]]:
    """The name and the text of each option; None where an option stands alone."""
    rest = list(argv)
    while rest:
        name, equals, text = rest.pop(0).partition("=")
        if name == "-h":
            yield "help", None
        elif not name.startswith("--"):
            faults.append(f"Options begin with two dashes. Got '{name}'. ({HERE})")
        elif equals:
            yield name[2:], text
        else:
            yield name[2:], rest.pop(0) if rest and not rest[0].startswith("--") and rest[0] != "-h" else None


def value(text: str | None, faults: list[str]) -> Given:
    """What was typed: a list or a mapping in YAML's brackets, else a bare word; an option alone is true."""
    if text is None:
        return Given(True, f"{HERE}, without a value", "true")
    return parse(text, lambda mark: HERE, faults) if text.startswith(("[", "{")) else Given.word(text, HERE)
