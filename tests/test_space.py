"""The Space in a real browser."""

import os
import re
import subprocess
import sys

import pytest
import torch
from browsing import NEEDED, chromium
from commands import ROOT
from hub_server import Hub

from hf_multitask import QQP, SST, STS, EnsembleModel, MultitaskConfig, MultitaskModel
from hf_multitask.hub import push_model

pytest.importorskip("gradio", reason="gradio is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning"),
    NEEDED,
]
PATIENCE = 120
"""Seconds in which a page must have come or changed."""


@pytest.fixture
def ensemble(small, tokenizer):
    members = []
    for seed in range(2):
        torch.manual_seed(seed)
        tasks = {task.name: task.describe() for task in (SST, QQP, STS)}
        members.append(MultitaskModel(MultitaskConfig(trunk=small, tasks=tasks, max_length=32)).eval())
        members[-1].tokenizer = tokenizer
    return EnsembleModel.from_members(members)


@pytest.fixture
def address(ensemble, monkeypatch, tmp_path):
    """Where the Space runs, in an own process, around an ensemble that it fetched from a Hub."""
    with Hub().running() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        push_model(ensemble, "me/ensemble", token="hf_mine")
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "MODEL": "me/ensemble"}
        environment |= {"GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1"}
        space = subprocess.Popen(
            [sys.executable, str(ROOT / "recipes" / "space" / "app.py")],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = []
        for line in space.stdout:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line.replace(hub.url, "")):
                break
        else:
            pytest.fail("".join(said))
        yield found[0]
        space.terminate()
        space.wait()
        space.stdout.close()


@pytest.fixture
def browser():
    with chromium() as driver:
        yield driver


def test_a_visitor_types_and_reads_what_every_task_and_member_says(address, browser, ensemble, tmp_path):
    browser.get(address)
    wait = WebDriverWait(browser, PATIENCE)
    first, second = wait.until(
        lambda page: (found := page.find_elements(By.CSS_SELECTOR, "input[type=text], textarea")) and found[:2]
    )
    first.send_keys("the cat sat")
    second.send_keys("the dog ran")
    browser.find_element(By.ID, "ask").click()
    for name, texts in (("sst", (["the cat sat"],)), ("qqp", (["the cat sat"], ["the dog ran"]))):
        label = ensemble.predict(name, *texts).labels[0]
        wait.until(lambda page, n=name, said=label: said in page.find_element(By.ID, f"task-{n}").text)
        shown = browser.find_element(By.ID, f"task-{name}").text
        assert all(possible in shown for possible in ensemble.config.objective(name).labels)
        assert re.search(r"\d+%", shown)
    value = ensemble.predict("sts", ["the cat sat"], ["the dog ran"]).values[0].item()
    assert f"{value:.2f} of 5" in browser.find_element(By.ID, "task-sts").text
    table = browser.find_element(By.ID, "members").text
    for number in range(2):
        assert f"members/{number}" in table
        assert ensemble.member(number).predict("sst", ["the cat sat"]).labels[0] in table
    assert browser.save_screenshot(str(tmp_path / "space.png"))
    assert (tmp_path / "space.png").stat().st_size > 10_000
