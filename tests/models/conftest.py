"""Models of several tasks, of which an ensemble can be made."""

import pytest
import torch

from hf_multitask import QQP, SST, STS, MultitaskConfig, MultitaskModel

CORE = (SST, QQP, STS)


@pytest.fixture
def build(small, tokenizer):
    """A model of its own weights, for some tasks."""

    def built(seed, *tasks, **options):
        torch.manual_seed(seed)
        described = {task.name: task.describe() for task in tasks or CORE}
        model = MultitaskModel(MultitaskConfig(trunk=small, tasks=described, **{"max_length": 32, **options}))
        # Heads with something to say: what they begin with is nearly the same for all rows.
        for parameter in model.heads.parameters():
            torch.nn.init.normal_(parameter)
        model.tokenizer = tokenizer
        return model

    return built


@pytest.fixture
def folders(build, tmp_path):
    """Three models, saved."""
    paths = [tmp_path / name for name in "abc"]
    for seed, path in enumerate(paths):
        build(seed).save_pretrained(path)
    return paths
