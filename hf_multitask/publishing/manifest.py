"""What of a folder is published: a model's, an ensemble's or one adapter's files, its code and its card."""

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from ..models.construct import unknown
from ..models.members import TOKENIZER, check_inside, check_weights, digest, fetch
from ..recipe import read_yaml, yaml_text
from ..report import Report
from .cards import card, on_hub
from .shipping import MAPS, code, settings

__all__ = ["Files", "contents", "ours", "text_of"]

Files = dict[str, Path | bytes]
"""The files of a repo, by their paths there."""

MODEL = ("config.json", "*.safetensors", "*.safetensors.index.json", "adapters/*/adapter_*", *TOKENIZER)
"""What a model's folder holds of the model."""

ENDINGS = (".json", ".safetensors", ".txt", ".codes", ".model")

BESIDE = ("*.png", "onnx/*.onnx", "onnx/*.data")
"""What else is published as it is. The report and the recipe are without the places on this machine."""

WRITTEN = (
    "model*.safetensors",
    "*.safetensors.index.json",
    "adapter_*",
    "pytorch_model*.bin",
    "report.*",
    "recipe.yaml",
    *TOKENIZER,
)
"""What publishing puts beside the code at the top of a repo, and weights that would be read in place of them.

Pictures are not among them: whether one that the new card does not show is somebody's own cannot be told.
"""


def contents(folder: str | Path, repo: str, *, base: str | None = None, revision: str | None = None) -> Files:
    """The files of `repo` on a branch; `base` is the published model that an adapter belongs to."""
    folder = Path(folder)
    kind = kind_of(folder)
    if base is not None and kind != "adapter":
        raise ValueError(f"{folder} holds a model, which needs no base. Leave base out.")
    for path in (file for pattern in ("report.json", "recipe.yaml", *BESIDE) for file in folder.glob(pattern)):
        check_inside(path, folder)
    files = staged(folder, base)
    weights = [folder / path for path in files if path.endswith(".safetensors")]
    report, recipe = None, read_yaml(folder / "recipe.yaml")
    if (folder / "report.json").is_file():
        report = Report(**without_places(vars(Report.load(folder))))
        files |= {"report.json": report.to_json().encode(), "report.md": report.to_markdown().encode()}
    if recipe is not None:
        recipe = without_places(recipe)
        files["recipe.yaml"] = yaml_text(recipe).encode()
    for path in (file for pattern in BESIDE for file in sorted(folder.glob(pattern))):
        files[path.relative_to(folder).as_posix()] = path
    if kind != "adapter":
        files["config.json"] = written(settings(json.loads(text_of(files["config.json"]))))
        files |= {name: text.encode() for name, text in code(pals=has_pals(folder)).items()}
    known: Any = {"weights": weights, "report": report, "recipe": recipe, "revision": revision}
    files["README.md"] = str(card(folder, repo, kind=kind, base=base, **known)).encode()
    return dict(sorted(files.items()))


def ours(path: str) -> bool:
    """Whether a file of a repo is one of those that publishing puts there, and takes away when it is outdated."""
    if "/" in path:
        return path.startswith(("adapters/", "members/", "onnx/"))
    return path in code(pals=True) or any(PurePosixPath(path).match(pattern) for pattern in WRITTEN)


def kind_of(folder: Path) -> str:
    """What lies in a folder: "multitask", "ensemble" or "adapter"."""
    if not folder.is_dir():
        raise ValueError(f"The model {folder} is no folder here. Name the folder that training left.")
    if (folder / "config.json").is_file():
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind not in MAPS:
            raise ValueError(f"{folder}: {unknown('kind of model', kind, MAPS)}")
        if kind == "multitask":
            check_weights(folder, "The model")
        return kind
    if (folder / "adapter_config.json").is_file():
        check_weights(folder, "The adapter")
        return "adapter"
    raise ValueError(f"{folder} holds neither a model (config.json) nor an adapter (adapter_config.json).")


def staged(folder: Path, base: str | None = None) -> Files:
    """The files of a model, an adapter or an ensemble, whose members' hashes are those of what is published."""
    found = sorted({path for pattern in ("adapter_*", *MODEL) for path in folder.glob(pattern)})
    for path in found:
        check_inside(path, folder)
    files: Files = {path.relative_to(folder).as_posix(): path for path in found if path.suffix in ENDINGS}
    for path in [path for path in found if path.name == "adapter_config.json"]:
        files[path.relative_to(folder).as_posix()] = based(path, base)
    if (folder / "config.json").is_file():
        config = unplaced(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        members = config["members"] if config["model_type"] == "ensemble" else []
        for entry in [entry for entry in members if "folder" in entry]:
            check_inside(folder / entry["folder"], folder)
            kind_of(folder / entry["folder"])
            inside = staged(folder / entry["folder"])
            entry["hash"] = digest(inside)
            files |= {f"{entry['folder']}/{name}": file for name, file in inside.items()}
        files["config.json"] = written(config)
    return files


def unplaced(config: Any) -> Any:
    """A configuration without the places that its parts were read from, which change nothing."""
    if isinstance(config, dict):
        return {key: unplaced(part) for key, part in config.items() if key != "_name_or_path"}
    return [unplaced(part) for part in config] if isinstance(config, list) else config


def has_pals(folder: Path) -> bool:
    """Whether a model has PALs, or an ensemble a member with some, which may lie on the Hub."""
    if any('"PAL"' in path.read_text(encoding="utf-8") for path in folder.rglob("adapter_config.json")):
        return True
    configs = [json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("config.json")]
    entries = [entry for config in configs for entry in config.get("members", ()) if "repo" in entry]
    return any(has_pals(fetch(entry["repo"], revision=entry["revision"])) for entry in entries)


def text_of(file: Path | bytes) -> str:
    return file.decode() if isinstance(file, bytes) else file.read_text(encoding="utf-8")


def based(path: Path, base: str | None) -> bytes:
    """An adapter's configuration, which names a base on the Hub or none."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base or on_hub(config.get("base_model_name_or_path"))
    return written(config)


def without_places(value: Any) -> Any:
    """Words that name a place on this machine, without the way there; tokens not at all.

    >>> without_places({"trunk": "/home/me/minilm", "seed": 0, "hub_token": "hf_.."})
    {'trunk': 'minilm', 'seed': 0}
    """
    if isinstance(value, dict):
        return {key: without_places(part) for key, part in value.items() if not str(key).endswith("_token")}
    if isinstance(value, list):
        return [without_places(part) for part in value]
    placed = isinstance(value, str) and (os.path.isabs(value) or value.startswith(("~", "..", "file:")))
    return Path(value).name if placed else value


def written(content: Any) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
