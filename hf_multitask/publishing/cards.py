"""The card of a published model, written from its files: what it does, how it is used, what it reached."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import safe_open

from ..models.objectives import build_objective
from ..recipe import yaml_text
from ..report import Report

__all__ = ["card", "on_hub"]

PACKAGE = Path(__file__).parents[1]
EXAMPLES = ("The soup was superb, but the service was slow.", "The soup was great, and the waiter took ages.")
SETS = {
    "sst": ("SetFit/sst5", "SST-5", "Stanford Sentiment Treebank; its authors state no licence"),
    "qqp": ("nyu-mll/glue", "Quora Question Pairs", "under Quora's terms of service, for non-commercial use"),
    "sts": ("nyu-mll/glue", "STS Benchmark", "of several sources, each under its own licence"),
    "sick": ("RobZamp/sick", "SICK", "CC BY-NC-SA 3.0"),
    "cfimdb": (None, "CFIMDB", "film reviews, for use in the CS224N course"),
}
"""A built-in task's dataset on the Hub, its name and its licence."""


def card(
    folder: Path,
    repo: str,
    *,
    kind: str,
    weights: Sequence[Path],
    report: Report | None = None,
    recipe: dict[str, Any] | None = None,
    base: str | None = None,
    revision: str | None = None,
) -> ModelCard:
    """The card of what lies in a folder, of a `kind` that has a template in `model_cards/`."""
    facts = {
        "repo": repo,
        # What its lines load is what it lies beside.
        "at": f", revision={json.dumps(revision)}" if revision else "",
        "report": report,
        "pictures": sorted(path.name for path in folder.glob("*.png")),
        "recipe": recipe and yaml_text(recipe),
        "script": "ensemble" if "members" in (recipe or {}) else "train",
        "size": size(weights),
        "onnx": (folder / "onnx" / "model.onnx").is_file(),
        **(adapter(folder, base) if kind == "adapter" else model(folder, recipe)),
    }
    names = facts.get("tasks", {})
    english = [name for name in names if name in SETS and source(recipe, name) in (None, "Course", "Demo", "Published")]
    data = ModelCardData(
        # Of other rows nobody said which language they are in.
        language="en" if names and len(english) == len(names) else None,
        library_name="peft" if kind == "adapter" else "transformers",
        base_model=facts["base"],
        tags=["hf_multitask", kind],
        pipeline_tag=tag(names) if names else None,
        datasets=datasets(names, recipe),
        model_name=repo.partition("/")[2],
        eval_results=results(report, recipe) if report and names else None,
    )
    return ModelCard.from_template(data, template_str=template(kind), **facts)


def template(kind: str) -> str:
    """The text of a template: in a checkout beside the package, else inside it."""
    places = [folder / "model_cards" / f"{kind}.md" for folder in (PACKAGE.parent, PACKAGE)]
    return next(place for place in places if place.is_file()).read_text(encoding="utf-8")


def model(folder: Path, recipe: dict[str, Any] | None) -> dict[str, Any]:
    """What a card says of a model or an ensemble."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tasks = {name: told(task) for name, task in config["tasks"].items()}
    name, task = min(config["tasks"].items(), key=lambda item: item[1]["pair"])
    return {
        "tasks": tasks,
        "example": call(name, task),
        "input": {"text": EXAMPLES[0], **({"text_pair": EXAMPLES[1]} if task["pair"] else {})},
        "data": data_lines(learnt(tasks, recipe), recipe),
        "trunk": (config.get("trunk") or {}).get("model_type"),
        "base": None,
        "max_length": config.get("max_length"),
        "adapters": sorted(path.name for path in folder.glob("adapters/*")),
        "members": [member.get("repo") or member["folder"] for member in config.get("members", ())],
        "combiners": {name: spec["class"] for name, spec in config.get("combiners", {}).items()},
        "calibrated": sorted(config.get("temperatures") or ()),
    }


def adapter(folder: Path, base: str | None) -> dict[str, Any]:
    """What a card says of one adapter."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    named = base or on_hub(config.get("base_model_name_or_path"))
    if named is None:
        raise ValueError(
            f"{folder} is an adapter, of no use without its base. Name the published model: --base user/name."
        )
    if base is None and learnt_too(folder.parent.parent):
        raise ValueError(
            f"{folder} was trained together with its base, so that it does not fit {named}. Publish the model, "
            "and name it: --base user/name."
        )
    whole = f'hf_multitask.MultitaskModel.from_pretrained("{named}", adapters=False).trunk'
    bare = f'transformers.AutoModel.from_pretrained("{named}")'
    return {"kind": config["peft_type"], "base": named, "whole": base, "loading": whole if base else bare}


def learnt_too(folder: Path) -> bool:
    """Whether a model's trunk changed while its adapters were trained."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return config.get("model_type") == "multitask" and (not config["freeze_trunk"] or config["train_norms"])


def told(task: dict[str, Any]) -> dict[str, str]:
    objective = build_objective(task["objective"])
    low, high = (objective.space[0], objective.space[-1]) if objective.labels is None else (0, 0)
    answers = ", ".join(objective.labels) if objective.labels else f"a number from {low:g} to {high:g}"
    return {"reads": "two texts" if task["pair"] else "one text", "answers": answers}


def call(name: str, task: dict[str, Any]) -> str:
    """A line of Python that asks for a task's answer."""
    texts = ", ".join(json.dumps([text]) for text in EXAMPLES[: 1 + task["pair"]])
    return f'model.predict("{name}", {texts}).{"labels" if build_objective(task["objective"]).labels else "values"}'


def tag(tasks: dict[str, dict[str, str]]) -> str:
    numbers = all(task["answers"].startswith("a number") for task in tasks.values())
    return "sentence-similarity" if numbers else "text-classification"


def on_hub(name: str | None) -> str | None:
    """A base's name if it is one of the Hub's, and no place on this machine.

    >>> on_hub("me/model"), on_hub("/home/me/model")
    ('me/model', None)
    """
    if not name or Path(name).exists():
        return None
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name


def source(recipe: dict[str, Any] | None, name: str) -> str | None:
    """The class of the source that a task's rows came from: the recipe's, or one of the task's own."""
    known = recipe or {}
    own = {task["name"]: task.get("data") for task in known.get("tasks") or () if isinstance(task, dict)}
    found = (own | known.get("sources", {})).get(name) or known.get("data", {}).get("source")
    return found["class"] if found else None


def published(recipe: dict[str, Any] | None, name: str) -> bool:
    """Whether a task's rows were those of the dataset that it is named after."""
    return name in SETS and source(recipe, name) in ("Course", "Published")


def data_lines(names: Sequence[str], recipe: dict[str, Any] | None) -> list[str]:
    """What was learnt from, in a line for each dataset; none where no recipe tells."""
    if recipe is None or not any(source(recipe, name) for name in names):
        return []
    known = [name for name in names if published(recipe, name)]
    made_up = [name for name in names if source(recipe, name) == "Demo"]
    others = [name for name in names if name not in (*known, *made_up)]
    lines = [f"{title}: {licence}." for _, title, licence in (SETS[name] for name in known)]
    if made_up:
        whose = "Made-up" if len(made_up) == len(names) else f"{', '.join(made_up)}: made-up"
        lines.append(
            f"{whose} sentences of a small grammar: they belong to nobody, and what is learnt from them is of no use "
            "beyond a demonstration."
        )
    if others:
        lines.append(f"{', '.join(others)}: rows of which nothing is recorded here; ask whoever published this.")
    return lines


def learnt(names: Iterable[str], recipe: dict[str, Any] | None) -> list[str]:
    """Tasks, each with those whose rows joined its own."""
    joined = (recipe or {}).get("data", {}).get("join", {})
    return list(dict.fromkeys(one for name in names for one in (name, *joined.get(name, ()))))


def datasets(names: Iterable[str], recipe: dict[str, Any] | None) -> list[str] | None:
    """The datasets on the Hub that the rows of some tasks stand in."""
    found = {SETS[name][0] for name in learnt(names, recipe) if published(recipe, name)}
    return sorted(repo for repo in found if repo) or None


def results(report: Report, recipe: dict[str, Any] | None) -> list[EvalResult]:
    """A report in the form of the Hub's model index."""
    found = []
    for name, entry in report.tasks.items():
        kind = "text-classification" if entry.get("labels") else "sentence-similarity"
        known = SETS[name] if published(recipe, name) else (None, name, "")
        found.append(
            EvalResult(
                task_type=kind,
                dataset_type=known[0] or name,
                dataset_name=known[1],
                dataset_split=entry["split"],
                metric_type=entry["metric"],
                metric_value=round(entry[entry["metric"]], 4),
                metric_args={"ci95": [round(bound, 4) for bound in entry["ci95"]]} if entry.get("ci95") else None,
            )
        )
    return found


def size(weights: Sequence[Path]) -> dict[str, float]:
    """How many numbers the weights are, in millions, and how many megabytes they take."""
    numbers = 0
    for file in weights:
        with safe_open(file, framework="pt") as held:
            names = held.keys()
            numbers += sum(math.prod(held.get_slice(name).get_shape()) for name in names)
    return {"millions": numbers / 1e6, "megabytes": sum(file.stat().st_size for file in weights) / 1e6}
