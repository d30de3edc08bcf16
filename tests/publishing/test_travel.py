"""What is loaded from the Hub gives what was published, where this package is and where it is not."""

import ast
import os
import re
import shutil
import subprocess
import sys

import torch
from batches import FIRST, SECOND

from hf_multitask import EnsembleModel
from hf_multitask.hub import publish
from hf_multitask.publishing.shipping import code


def scores(model):
    return {
        name: model.predict(name, FIRST, SECOND if task["pair"] else None).scores for name, task in model.tasks.items()
    }


def python_of(card):
    """What a card says that one types."""
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


LOAD = """
import sys, torch, hf_multitask, huggingface_hub
from transformers import AutoModel
kept, first, second, adapter = {!r}, {!r}, {!r}, {!r}
# What was loaded once needs no network any more.
for huggingface_hub.constants.HF_HUB_OFFLINE in (False, True):
    for (repo, revision), want in torch.load(kept).items():
        model = AutoModel.from_pretrained(repo, revision=revision)
        for name, scores in want.items():
            found = model.predict(name, first, second if model.tasks[name]["pair"] else None).scores
            assert torch.equal(found, scores), (repo, revision, name)
        assert type(model).__module__.startswith("hf_multitask."), type(model)
    exec(adapter)
    hidden = model(input_ids=torch.tensor([[2, 5, 6, 3]])).last_hidden_state
    assert torch.equal(hidden, torch.load(kept + ".adapter"))
print("loaded")
"""

# As in an environment that has transformers and PEFT (with its accelerate), and nothing else that this package needs.
REFUSED = "hf_multitask datasets evaluate scipy sklearn sentence_transformers torchjd"

WITHOUT = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *rest):
        return None if name.split(".")[0] in {!r}.split() else self.finder.find_spec(name, *rest)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
import torch
kept, first, second = {!r}, {!r}, {!r}
kept = torch.load(kept)
{}
print("loaded")
"""

WANTED = """
from transformers import AutoModel
try:
    AutoModel.from_pretrained("me/pals", trust_remote_code=True)
except ModuleNotFoundError as error:
    assert "pip install peft" in str(error), error
"""

SAME = """
for name, scores in kept[{!r}, {!r}].items():
    assert torch.equal(model.predict(name, first, second if model.tasks[name]["pair"] else None).scores, scores), name
assert "transformers_modules" in type(model).__module__
text, pair = answer("the cat sat"), answer([{{"text": first[0], "text_pair": second[0]}}, "a film"])
assert list(text) == ["sst"] and [sorted(row) for row in pair] == [["qqp", "sts"], ["sst"]], (text, pair)
assert text["sst"]["label"] == model.predict("sst", ["the cat sat"]).labels[0]
"""


def run_apart(code, folder, **more):
    environment = {**os.environ, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1", **more}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.endswith("loaded\n"), done.stderr
    assert "hf_mine" not in done.stdout + done.stderr


def test_all_four_kinds_come_back_from_the_hub_as_they_were(hub, build, report, tmp_path):
    kept = {}
    model, pals = build(0), build(1, pals=True)
    build(2).push_to_hub("me/model")
    first = hub.repos["me/model"].branches["main"]
    kept["me/model", first] = scores(build(2))
    model.push_to_hub("me/model")
    kept["me/model", None] = scores(model)
    other = build(4)
    other.push_to_hub("me/model", revision="other")
    kept["me/model", "other"] = scores(other)
    report.save(tmp_path / "pals")
    pals.save_pretrained(tmp_path / "pals")
    publish(tmp_path / "pals", "me/pals")
    kept["me/pals", None] = scores(pals)
    publish(tmp_path / "pals" / "adapters" / "qqp", "me/adapter", base="me/pals")
    pals.trunk.set_adapter("qqp")
    torch.save(pals.trunk(input_ids=torch.tensor([[2, 5, 6, 3]])).last_hidden_state, tmp_path / "kept.adapter")
    # One member inside, whose adapters name a place of this machine, and one that stays on the Hub, at its commit.
    inside = build(3, pals=True)
    inside.trunk.config.save_pretrained(tmp_path / "base")
    inside.trunk.peft_config["sst"].base_model_name_or_path = str(tmp_path / "base")
    ensemble = EnsembleModel.from_members([inside, f"me/model@{first}"], combiners={"sst": {"class": "Vote"}})
    ensemble.push_to_hub("ensemble")
    kept["me/ensemble", None] = scores(ensemble)
    assert not any(str(tmp_path).encode() in content for content in hub.files("me/ensemble").values())
    torch.save(kept, tmp_path / "kept")
    cards = {
        (name, branch): repo.at(branch or "main")[1]["README.md"].decode()
        for name, repo in hub.repos.items()
        for branch in (None, *repo.branches.keys() - {"main"})
    }
    shutil.rmtree(tmp_path / "pals")

    endpoint = {"HF_ENDPOINT": hub.url}
    spec = (str(tmp_path / "kept"), FIRST, SECOND)
    again = "".join(python_of(cards["me/adapter", None]))
    run_apart(LOAD.format(*spec, again), tmp_path, **endpoint)
    asked = [("me/model", None), ("me/model", "other"), ("me/ensemble", None), ("me/pals", None)]
    lines = ["".join(python_of(cards[which])) + SAME.format(*which) for which in asked]
    # First without PEFT, which leaves nothing behind that would be in the way of whoever installs it.
    run_apart(WITHOUT.format(f"{REFUSED} peft", *spec, WANTED), tmp_path, **endpoint)
    run_apart(WITHOUT.format(REFUSED, *spec, "".join(lines)), tmp_path, **endpoint)


def test_what_travels_needs_transformers_alone():
    free = {"torch", "transformers", "safetensors", "numpy", "huggingface_hub"} | sys.stdlib_module_names
    files = code(pals=True)
    for name, text in files.items():
        named = {node.module or "" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
        plain = {
            alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for alias in node.names
        }
        if not name.startswith("pal"):
            assert {part.split(".")[0] for part in named | plain} <= free | {file[:-3] for file in files}, name
    assert not any(name.startswith("pal") for name in code(pals=False))
