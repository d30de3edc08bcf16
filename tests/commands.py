"""Recipes as their commands run them, for tests of several of them."""

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_multitask.recipe import run

ROOT = Path(__file__).parent.parent
TINY = """
data: {source: {class: Demo, size: 64}}
model: {size: {num_hidden_layers: 1, hidden_size: 16, num_attention_heads: 2, intermediate_size: 32}}
training: {num_train_epochs: 1, disable_tqdm: true}
"""


def load(name):
    """The module of recipes/NAME.py."""
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", ROOT / "recipes" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(recipe, *words):
    """Run a recipe with the words of its command line; the exit code and what it printed to both streams."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["recipe", *map(str, words)])
        code = run(recipe.main)
    return code, out.getvalue(), err.getvalue()


def launch(name, *words, processes):
    """What recipes/NAME.py prints in a launcher's processes, which end well."""
    options = ["--config_file", ROOT / "accelerate_config.yaml", "--num_processes", processes, "--main_process_port", 0]
    command = [sys.executable, "-m", "accelerate.commands.launch", *options, ROOT / "recipes" / f"{name}.py", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
