"""What sentence-transformers makes of a model: an encoder of sentences, or of pairs for one task.

What comes out is made of stock parts alone: whoever loads it needs this package no more.
"""

from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_model
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from .adapters import base_key, is_adapter
from .heads import MLP, Linear
from .libraries import library
from .objectives import Binary, Regression

if TYPE_CHECKING:
    from .modeling_multitask import MultitaskModel

__all__ = ["to_cross_encoder", "to_sentence_transformer"]

LIBRARY = "sentence_transformers"


def to_sentence_transformer(model: "MultitaskModel", task: str | None = None) -> Any:
    """A `SentenceTransformer` whose vectors are the pooled rows of `model`, as the adapter of `task` reads them."""
    return library(LIBRARY, "SentenceTransformer")(modules=encoder(model, task), device=str(model.device))


def to_cross_encoder(model: "MultitaskModel", task: str) -> Any:
    """A `CrossEncoder` that scores pairs as `model` does.

    `predict(pairs, activation_fn=torch.nn.Identity())` gives the task's scores. Without, a probability for Binary, the
    share of the range for a bounded Regression, and the scores for everything else.
    """
    description = model.config.known(task)
    head, objective = model.heads[task], model.objectives[task]
    if not description["pair"]:
        raise ValueError(f"A CrossEncoder scores pairs, and task '{task}' reads one text. Export a pair task.")
    if not isinstance(head, Linear | MLP):
        raise ValueError(
            f"Task '{task}' encodes its texts apart, under the head {type(head).__name__}. A CrossEncoder reads them "
            "together: train it with the head Linear or MLP, or compare the vectors of to_sentence_transformer()."
        )
    layers = [dense(head.dense, nn.GELU())] if isinstance(head, MLP) else []
    layers.append(dense(head.out, nn.Identity(), into="scores"))
    with torch.no_grad():
        for weight in layers[-1].parameters():
            weight.div_(model.config.temperatures.get(task, 1.0))
    squashed = isinstance(objective, Binary) or (isinstance(objective, Regression) and objective.bounded)
    return library(LIBRARY, "CrossEncoder")(
        modules=[*encoder(model, task), *layers],
        activation_fn=nn.Sigmoid() if squashed else nn.Identity(),
        device=str(model.device),
    )


def encoder(model: "MultitaskModel", task: str | None) -> list[nn.Module]:
    """The trunk with its tokenizer, and its pooling."""
    trained: Any = model.trunk
    trunk, pooling = stock(model, task), model.config.pooling
    options: dict[str, Any] = {}
    if isinstance(trunk, BertModel):
        options["add_pooling_layer"] = False
    with TemporaryDirectory() as folder:
        # Not by `save_pretrained`, which in a group of processes writes for the first alone.
        trunk.config.save_pretrained(folder)
        save_model(trunk, str(Path(folder, SAFE_WEIGHTS_NAME)), metadata={"format": "pt"})
        model.tokenizer.save_pretrained(folder)
        transformer = library(f"{LIBRARY}.base.modules", "Transformer")(
            folder, max_seq_length=model.config.max_length, model_kwargs=dict(options)
        )
    transformer.model.name_or_path = ""
    if options:
        # Kept in the files, so that nobody who loads them is told of a pooler that is not there.
        transformer.model_args = options
        transformer.config_keys = [*transformer.config_keys, "model_args"]
    width = model.config.trunk.hidden_size
    pooled = library(f"{LIBRARY}.sentence_transformer.modules", "Pooling")(
        width, "mean" if pooling == "mean" else "cls"
    )
    return [transformer, pooled, *([dense(trained.pooler.dense, nn.Tanh())] if pooling == "pooler" else [])]


def stock(model: "MultitaskModel", task: str | None) -> PreTrainedModel:
    """The trunk as transformers knows it: minBERT as BERT, an adapter merged into the weights."""
    trunk, state = model.trunk, model.trunk.state_dict()
    if model.config.adapters:
        trunk, state = merged(model, task)
    if trunk.config.model_type != "minbert":
        return trunk
    fields = trunk.config.to_dict()
    # What is minBERT's own, and what names a class that is not the one built here.
    for name in ("unpad", "model_type", "architectures", "auto_map"):
        fields.pop(name, None)
    bert: Any = BertModel(BertConfig.from_dict(fields), add_pooling_layer=False)
    bert.load_state_dict({key: weight for key, weight in state.items() if not key.startswith("pooler.")})
    return bert.to(dtype=trunk.dtype)


def merged(model: "MultitaskModel", task: str | None) -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """The trunk, and its weights with the adapter of `task` merged into them."""
    names = list(model.config.tasks)
    if task is None:
        raise ValueError(f"Each task has an adapter of its own. Say whose vectors you want: one of {', '.join(names)}.")
    model.config.known(task)
    kind: Any = model.trunk.peft_config[task]
    if model.mixes or kind.modules_to_save:
        raise ValueError(
            f"The adapter of '{task}' ({kind.peft_type.value}) does not merge into the trunk's weights, and "
            "sentence-transformers has no other place for it. Publish the model as it is: AutoModel loads it."
        )
    trunk = deepcopy(model.trunk)
    layer_kind = library("peft.tuners.tuners_utils", "BaseTunerLayer")
    with torch.no_grad():
        for layer in [module for module in trunk.modules() if isinstance(module, layer_kind)]:
            layer.merge(adapter_names=[task])
    state = {base_key(key): weight for key, weight in trunk.state_dict().items() if not is_adapter(key, names)}
    if trunk.config.model_type == "minbert":
        return trunk, state
    plain = type(trunk)(trunk.config)
    plain.load_state_dict(state)
    return plain, state


def dense(linear: Any, activation: nn.Module, *, into: str | None = None) -> nn.Module:
    """A layer of the model's as one of the library's."""
    layer = library(f"{LIBRARY}.base.modules", "Dense")(
        linear.in_features, linear.out_features, activation_function=activation, module_output_name=into
    )
    layer.linear.load_state_dict(linear.state_dict())
    return layer
