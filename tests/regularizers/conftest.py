"""A model with every kind of objective, and passes of it that can be repeated."""

import dataclasses

import pytest
import torch
from batches import step
from torch import nn
from transformers import ModernBertConfig, RobertaConfig

from hf_multitask import QQP, SST, STS, MultitaskConfig, MultitaskModel
from hf_multitask.models.batch import Batch
from hf_multitask.models.replay import Replay
from hf_multitask.tuners.methods import build_tuner

SIZES = {"vocab_size": 30, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "max_position_embeddings": 64}
TASKS = {
    task.name: task.describe()
    for task in (SST, QQP, STS, dataclasses.replace(STS, name="apart", head={"class": "Concat"}))
}
TUNERS = {
    "pal": {"class": "Pal", "width": 12, "heads": 3, "init_weights": False},
    "lora": {"class": "LoraConfig", "r": 4, "init_lora_weights": False},
}


def passed(model, batch):
    """A pass as the model's own: what repeats it, and its scores."""
    replay = Replay(model, batch)
    return replay, model.read(batch, replay.words)


@pytest.fixture
def build(small, tokenizer):
    """A model of all tasks whose weights are large enough for its answers to differ."""

    def built(trunk="minbert", tuner=None, dropout=0.0, dtype=torch.float):
        configs = {
            "minbert": small,
            "roberta": RobertaConfig(**SIZES),
            "modernbert": ModernBertConfig(
                **SIZES, pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3
            ),
        }
        torch.manual_seed(0)
        model = MultitaskModel(MultitaskConfig(trunk=configs[trunk], tasks=TASKS, dropout=dropout))
        if tuner is not None:
            model.add_adapters(build_tuner(TUNERS[tuner]))
        for name, weight in model.named_parameters():
            if not name.lower().endswith(("norm.weight", "norm.bias")):
                weight.data.normal_(std=0.3)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
        model.tokenizer = tokenizer
        return model.to(dtype).train()

    return built


@pytest.fixture
def one_pass(build):
    """A pass of all tasks by a model that is given or built."""

    def made(model=None, names=TASKS, **options):
        model = build(**options) if model is None else model
        return passed(model, Batch.of(**step(model, names)))

    return made
