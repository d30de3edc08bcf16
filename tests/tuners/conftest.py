"""Tiny encoders of every kind that a PAL runs beside, adapters on them, and a padded batch."""

import pytest
import torch
from peft import get_peft_model
from transformers import BertConfig, BertModel, ElectraConfig, ElectraModel, RobertaConfig, RobertaModel

from hf_multitask import MinBertConfig, MinBertModel
from hf_multitask.models.packing import Packing
from hf_multitask.tuners.pal import PalConfig

KINDS = {
    "minbert": (MinBertModel, MinBertConfig),
    "bert": (BertModel, BertConfig),
    "roberta": (RobertaModel, RobertaConfig),
    "electra": (ElectraModel, ElectraConfig),
}
LENGTHS = (7, 1, 10, 4, 5, 2)
SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


@pytest.fixture
def build():
    """A base by its kind, with weights that differ from layer to layer and LayerNorms that are no identity."""

    def of(kind, *, attention="sdpa", **options):
        model_class, config_class = KINDS[kind]
        extra = {"embedding_size": 16} if kind == "electra" else {}
        model = model_class(config_class(**{**SIZES, **extra, **options}, attn_implementation=attention))
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            parameter.data.normal_(std=0.3).add_(1.0 if name.endswith("LayerNorm.weight") else 0.0)
        return model

    return of


@pytest.fixture
def adapt(build):
    """A base under adapters that do something, active all together in their order or by set_adapter."""

    def of(kind, *names, dtype=torch.float32, base=None, **options):
        base = (build(kind) if base is None else base).to(dtype)
        options = {"width": 12, "heads": 3, "init_std": 0.3, "init_weights": False, **options}
        model = get_peft_model(base, PalConfig(**options), adapter_name=names[0])
        for name in names[1:]:
            model.add_adapter(name, PalConfig(**options))
        return model

    return of


@pytest.fixture
def batch():
    longest = max(LENGTHS)
    mask = (torch.arange(longest) < torch.tensor(LENGTHS)[:, None]).long()
    # RoBERTa counts its positions over what is not its padding token, 1.
    ids = torch.where(mask.bool(), torch.randint(5, SIZES["vocab_size"], mask.shape), 1)
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture
def flat(batch):
    """The same batch as minBERT takes it without padding."""
    packing = Packing.from_mask(batch["attention_mask"])
    return {"input_ids": packing.unpad(batch["input_ids"]), "packing": packing}
