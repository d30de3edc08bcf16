"""Publishing over HTTP, to a Hub on loopback and back."""

import ast
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from batches import FIRST, SECOND
from commands import call, load
from hub_server import Hub, card_faults
from huggingface_hub import ModelCard

from hf_multitask import QQP, SST, STS, EnsembleModel, MultitaskConfig, MultitaskModel, PalConfig, Report
from hf_multitask.arguments import MultitaskTrainingArguments
from hf_multitask.hub import publish
from hf_multitask.publishing.shipping import code
from hf_multitask.recipe import yaml_text
from hf_multitask.trainer import MultitaskTrainer

# huggingface_hub 2.4 uploads in an older way of its client's.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")

PUBLISH = load("publish")
CORE = {task.name: task.describe() for task in (SST, QQP, STS)}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub, which this process and those it starts take for the only one."""
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    template = "/{repo_id}/resolve/{revision}/{filename}"
    with Hub().running() as running:
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", running.url + template)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        yield running


@pytest.fixture
def build(small, tokenizer):
    def built(seed, *, pals=False):
        torch.manual_seed(seed)
        model = MultitaskModel(MultitaskConfig(trunk=small, tasks=CORE, max_length=32))
        model.tokenizer = tokenizer
        if pals:
            model.add_adapters(PalConfig(width=4, heads=2, init_weights=False))
        return model.eval()

    return built


@pytest.fixture
def report():
    entry = {"split": "dev", "n": 4, "metric": "accuracy", "scored": True, "accuracy": 0.5, "ci95": [0.25, 0.75]}
    return Report({"sst": {**entry, "labels": list("abcde")}}, 8.0, 0.5, 0, trunk="/home/somebody/minilm")


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
for name, scores in kept[{!r}, None].items():
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
    assert not any(str(tmp_path).encode() in content for content in files(hub, "me/ensemble").values())
    torch.save(kept, tmp_path / "kept")
    cards = {name: repo.at("main")[1]["README.md"].decode() for name, repo in hub.repos.items()}
    shutil.rmtree(tmp_path / "pals")

    endpoint = {"HF_ENDPOINT": hub.url}
    spec = (str(tmp_path / "kept"), FIRST, SECOND)
    again = "".join(python_of(cards["me/adapter"]))
    run_apart(LOAD.format(*spec, again), tmp_path, **endpoint)
    lines = ["".join(python_of(cards[repo])) + SAME.format(repo) for repo in ("me/model", "me/ensemble", "me/pals")]
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


@pytest.fixture
def folder(build, report, tmp_path):
    """A trained model's folder, with a report and a recipe."""
    folder = tmp_path / "model"
    build(0).save_pretrained(folder)
    report.save(folder)
    recipe = {"output_dir": str(folder), "data": {"source": {"class": "Course", "data_dir": "/home/somebody/data"}}}
    (folder / "recipe.yaml").write_text(yaml_text(recipe))
    (folder / "curve.png").write_bytes(b"picture")
    (folder / "training_args.bin").write_bytes(b"a pickle")
    return folder


def files(hub, repo="me/model"):
    return hub.repos[repo].at("main")[1]


def test_the_same_again_is_no_new_commit_and_what_is_outdated_goes(hub, folder):
    address = publish(folder, "me/model")
    count = len(hub.repos["me/model"].commits)
    assert publish(folder, "me/model") == address
    assert len(hub.repos["me/model"].commits) == count
    mine = {"notes.txt": b"mine", "handler.py": b"mine", "tools/convert.bin": b"mine"}
    hub.repos["me/model"].add({**files(hub), "pytorch_model.bin": b"evil", "members/old/config.json": b"{}", **mine})
    publish(folder, "me/model")
    assert not {"pytorch_model.bin", "members/old/config.json"} & files(hub).keys()
    assert {name: files(hub)[name] for name in mine} == mine
    publish(folder, "me/model", revision="v1")
    assert hub.repos["me/model"].at("v1")[1].keys() == files(hub).keys()


def test_a_public_repo_takes_nothing_private(hub, folder):
    publish(folder, "me/open")
    with pytest.raises(ValueError, match="me/open is there, and everybody sees it"):
        publish(folder, "me/open", private=True)
    publish(folder, "me/closed", private=True)
    publish(folder, "me/closed", private=True)
    assert hub.repos["me/closed"].private


def test_an_adapter_takes_no_models_place(hub, folder, build, tmp_path):
    publish(folder, "me/model")
    before = hub.repos["me/model"].at("main")
    build(0, pals=True).save_pretrained(tmp_path / "pal")
    with pytest.raises(ValueError, match="me/model holds a model, and this is an adapter"):
        publish(tmp_path / "pal" / "adapters" / "sst", "me/model", base="me/pal")
    assert hub.repos["me/model"].at("main") == before


@pytest.mark.parametrize("place", ["/home/somebody/gone", "~/gone", "../gone", "C:\\gone"])
def test_an_adapters_base_on_another_machine_is_not_told(place, hub, build, tmp_path):
    build(0, pals=True).save_pretrained(tmp_path / "pal")
    adapter = tmp_path / "pal" / "adapters" / "sst"
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": place}))
    with pytest.raises(ValueError, match="of no use without its base"):
        publish(adapter, "me/sst")
    publish(tmp_path / "pal", "me/pal")
    assert not [name for name, content in files(hub, "me/pal").items() if b"gone" in content]


def test_a_task_with_rows_of_its_own_names_no_dataset(hub, folder):
    tasks = [{"name": "sst", "data": {"class": "Files", "train": "mine.csv"}}, {"name": "sts", "data": None}]
    (folder / "recipe.yaml").write_text(yaml_text({"tasks": tasks, "data": {"source": {"class": "Course"}}}))
    publish(folder, "me/model")
    card = ModelCard(files(hub)["README.md"].decode())
    assert card.data.datasets == ["nyu-mll/glue"]
    assert card.data.eval_results[0].dataset_name == "sst"


def test_rows_that_joined_a_task_are_told_with_their_licence(hub, folder):
    data = {"source": {"class": "Course"}, "join": {"sts": ["sick"]}}
    (folder / "recipe.yaml").write_text(yaml_text({"data": data}))
    publish(folder, "me/model")
    card = ModelCard(files(hub)["README.md"].decode())
    assert card.data.datasets == ["RobZamp/sick", "SetFit/sst5", "nyu-mll/glue"]
    assert "SICK: CC BY-NC-SA 3.0" in card.text


def test_the_card_tells_of_no_graph_and_no_recipe_that_is_not_there(hub, folder):
    (folder / "onnx").mkdir()
    publish(folder, "me/model")
    text = ModelCard(files(hub)["README.md"].decode()).text
    assert "ONNX" not in text
    assert "<code>recipes/train.py</code> does it again" in text
    (folder / "recipe.yaml").write_text(yaml_text({"members": ["me/one", "me/other"], "rule": "soup"}))
    publish(folder, "me/model")
    assert "<code>recipes/ensemble.py</code> does it again" in ModelCard(files(hub)["README.md"].decode()).text


@pytest.mark.parametrize("step", ["lfs", "commit"])
def test_a_push_that_is_cut_leaves_the_last_whole_commit(step, hub, folder, build, tmp_path):
    publish(folder, "me/model")
    before = hub.repos["me/model"].at("main")
    build(5).save_pretrained(folder)
    hub.fail_at = step
    with pytest.raises(OSError, match=r"The Hub refuses \(400\): The \w+ was cut. The repo me/model is as it was"):
        publish(folder, "me/model")
    assert hub.repos["me/model"].at("main") == before
    hub.fail_at = None
    publish(folder, "me/model")
    assert files(hub)["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_what_is_published_holds_no_pickle_and_no_place_on_this_machine(hub, folder):
    publish(folder, "me/model")
    assert not [name for name in files(hub) if name.endswith((".bin", ".pt"))]
    assert {"curve.png", "report.json", "report.md", "recipe.yaml"} <= files(hub).keys()
    for name, content in files(hub).items():
        assert b"/home/" not in content, name
        assert str(folder).encode() not in content, name
        assert b"hf_mine" not in content, name


def test_the_card_holds_what_the_report_says(hub, folder, report):
    publish(folder, "me/model")
    card = ModelCard(files(hub)["README.md"].decode())
    card.validate()
    assert not card_faults(str(card))
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.metric_args) == ("accuracy", 0.5, {"ci95": [0.25, 0.75]})
    assert (result.dataset_type, result.dataset_name, result.dataset_split) == ("SetFit/sst5", "SST-5", "dev")
    assert card.data.datasets == ["SetFit/sst5", "nyu-mll/glue"]
    assert "| 0.500 | 0.250 to 0.750 |" in card.text
    assert "Stanford Sentiment Treebank" in card.text
    assert "class: Course" in card.text
    assert "![curve.png](curve.png)" in card.text
    assert "torch 2" in card.text
    assert card_faults(str(card).replace("SetFit/sst5", "not a name"))


@pytest.mark.parametrize(
    ("repo", "token", "complaint"),
    [
        ("me/model", None, "The Hub needs a token to write"),
        ("me/model", "hf_wrong", "The Hub does not know this token"),
        ("her/model", "hf_mine", "The token is that of me, who may not write to her/model"),
        ("me/../model", "hf_mine", "A repo is named user/name"),
        ("me/my/model", "hf_mine", "A repo is named user/name"),
        ("..", "hf_mine", "A repo is named user/name"),
    ],
)
def test_mistakes_are_one_sentence_without_a_token(repo, token, complaint, hub, folder, monkeypatch, caplog):
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    caplog.set_level("DEBUG")
    code, out, err = call(PUBLISH, "--model", folder, "--repo", repo)
    assert code == 1
    assert complaint in err
    assert err.count("\n") == 1
    assert "hf_" not in (out + err + caplog.text).replace("hf_multitask", "").replace("hf_hub", "").replace(
        "hf_api", ""
    )
    assert not hub.repos


def test_no_network_and_a_full_disk_are_one_sentence(hub, folder, build, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    code, _, err = call(PUBLISH, "--model", folder, "--repo", "me/model")
    assert code == 1
    assert "http://127.0.0.1:9 cannot be reached (ConnectError)" in err
    assert err.count("\n") == 1
    with room_for(1000), pytest.raises(OSError, match="The disk is full: no room for the model"):
        build(0).push_to_hub("me/model")


def test_a_full_disk_where_a_model_is_downloaded_to_is_one_sentence(hub, folder):
    publish(folder, "me/model")
    with room_for(20_000), pytest.raises(OSError, match="The disk is full: no room to download me/model"):
        MultitaskModel.from_pretrained("me/model")


@contextlib.contextmanager
def room_for(size):
    """Files may grow no larger."""
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_pickle_on_the_hub_is_not_even_fetched(hub, folder, tmp_path):
    publish(folder, "me/model")
    spoilt = {name: content for name, content in files(hub).items() if name != "model.safetensors"}
    hub.repos["me/model"].add({**spoilt, "pytorch_model.bin": b"evil"})
    with pytest.raises(ValueError, match="no file ends in"):
        MultitaskModel.from_pretrained("me/model")
    assert not list((tmp_path / "cache").rglob("*.bin"))


def test_saving_may_push_too(hub, build, tmp_path):
    model = build(0, pals=True)
    model.save_pretrained(tmp_path / "model", push_to_hub=True, repo_id="me/model")
    assert {"tokenizer.json", "adapters/sst/adapter_model.safetensors", "pal.py", "README.md"} <= files(hub).keys()
    EnsembleModel.from_members([model]).save_pretrained(tmp_path / "ensemble", push_to_hub=True)
    assert "members/0/tokenizer.json" in files(hub, "me/ensemble")
    assert (tmp_path / "ensemble" / "config.json").is_file()


def test_the_trainer_publishes_what_the_model_does(hub, folder, build, rows, tmp_path):
    arguments = MultitaskTrainingArguments(str(folder), eval_strategy="no", load_best_model_at_end=False)
    trainer = MultitaskTrainer(build(0), arguments, train_dataset={"sst": rows["sst"]})
    assert "/me/model/commit/" in trainer.push_to_hub()
    pushed = files(hub)
    publish(folder, "me/published")
    assert pushed.keys() == files(hub, "me/published").keys()
    for name in ("model.safetensors", "report.json", "recipe.yaml", "curve.png"):
        assert pushed[name] == files(hub, "me/published")[name]
    with pytest.raises(ValueError, match="Leave blocking out"):
        trainer.push_to_hub(blocking=False)
    with pytest.raises(ValueError, match="Leave push_to_hub out; then"):
        MultitaskTrainingArguments(str(folder), push_to_hub=True)


def test_a_folder_that_holds_no_model_is_no_repo(hub, build, tmp_path):
    build(0, pals=True).save_pretrained(tmp_path / "model")
    for folder, base, complaint in (
        ("nowhere", None, "is no folder here"),
        (".", None, "holds neither a model"),
        ("model", "me/base", "needs no base"),
        ("model/adapters/sst", None, "of no use without its base"),
    ):
        with pytest.raises(ValueError, match=complaint):
            publish(tmp_path / folder, "me/model", base=base)
    assert not hub.repos
