import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import build

from hf_multitask import SST, MinBertConfig, MultitaskConfig, MultitaskModel
from hf_multitask.models.encoding import Encoded, flatten
from hf_multitask.training import memory

pytestmark = pytest.mark.skipif(memory.GNU is None, reason="another C library")
QUIET = {"schedule": {"class": "RoundRobin"}, "eval_strategy": "no", "load_best_model_at_end": False}
GRADIENT = 30522 * 384 * 4
"""Bytes of the gradient of BERT's word embeddings, at a width of 384."""


def test_memory_that_is_free_is_given_back():
    """Every other one of many small tensors is freed: gaps that nobody else can use."""
    kept = [torch.ones(20_000) for _ in range(4000)]
    del kept[::2]
    before = resident()
    memory.give_back()
    assert before - resident() > 100e6
    assert len(kept) == 2000


def test_what_a_step_frees_is_not_cleared_anew_for_the_next():
    """In a process of its own: what others freed before would do."""
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, __file__], env=place, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    before, kept, after = map(float, done.stdout.split())
    assert before > GRADIENT
    assert kept < GRADIENT / 2
    assert after > GRADIENT


def test_a_training_keeps_it_and_does_not_beyond_its_end(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(memory, "limit", said.append)
    trainer = build(tmp_path, **QUIET)
    trainer.model.register_forward_pre_hook(lambda *_: said.append("step"))
    trainer.train()
    assert said == [memory.KEPT, *(["step"] * trainer.state.max_steps), memory.OWN]


def test_a_training_that_fails_lets_go_too(tmp_path, monkeypatch):
    said = []
    trainer = build(tmp_path, **QUIET)
    monkeypatch.setattr(trainer, "compute_loss", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(memory, "limit", said.append)
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert said == [memory.KEPT, memory.OWN]


def training_steps():
    """A function that does a step of a model with BERT's words, each time with sequences of other lengths."""
    trunk = MinBertConfig(hidden_size=384, num_hidden_layers=1, intermediate_size=768)
    model = MultitaskModel(MultitaskConfig(trunk=trunk, tasks={"sst": SST.describe()}))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    draw = np.random.default_rng(0)

    def step():
        texts = [draw.integers(1000, 30000, length).tolist() for length in draw.integers(5, 60, 8)]
        batch = flatten(Encoded(texts))
        model(**batch, rows={"sst": torch.arange(8)}, labels={"sst": torch.zeros(8, dtype=int)}).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def cleared(step, steps=10):
    """Bytes that the system clears in a step, on average, when some have gone before."""
    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / steps


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    step = training_steps()
    print(cleared(step))
    with memory.kept():
        print(cleared(step))
    print(cleared(step))
