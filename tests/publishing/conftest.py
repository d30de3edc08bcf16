"""A Hub on loopback, and what is published to it."""

import json

import pytest
import torch
from hub_server import Hub

from hf_multitask import QQP, SST, STS, MultitaskConfig, MultitaskModel, PalConfig, Report
from hf_multitask.recipe import yaml_text

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


@pytest.fixture
def folder(build, report, tmp_path):
    """A trained model's folder, with a report and a recipe."""
    folder = tmp_path / "model"
    build(0).save_pretrained(folder)
    # Where a trunk was read from, its configuration remembers.
    config = json.loads((folder / "config.json").read_text())
    config["trunk"]["_name_or_path"] = "/home/somebody/trunk"
    (folder / "config.json").write_text(json.dumps(config))
    report.save(folder)
    recipe = {"output_dir": str(folder), "data": {"source": {"class": "Course", "data_dir": "/home/somebody/data"}}}
    (folder / "recipe.yaml").write_text(yaml_text(recipe))
    (folder / "curve.png").write_bytes(b"picture")
    (folder / "training_args.bin").write_bytes(b"a pickle")
    return folder
