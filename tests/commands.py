"""Recipes as their commands run them, for tests of several of them."""

import contextlib
import importlib.util
import io
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
