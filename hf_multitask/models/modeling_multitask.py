"""One trunk, many tasks: `MultitaskModel`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers import initialization as init
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.utils import ModelOutput

from .configuration_multitask import MultitaskConfig
from .encoding import encode, flatten
from .heads import Cosine, build_head
from .modeling_minbert import MinBertModel
from .objectives import Prediction
from .packing import Packing

__all__ = ["MultitaskModel", "MultitaskOutput"]


@dataclass
class MultitaskOutput(ModelOutput):
    """What one pass gives, by task: `losses` (weighted means), `scores` [n, outputs]; `loss` is the losses' sum."""

    loss: Tensor | None = None
    losses: dict[str, Tensor] | None = None
    scores: dict[str, Tensor] | None = None


class MultitaskModel(PreTrainedModel):
    """A trunk that reads the sequences of every task in one pass, and a head for each task.

    A batch is flat: `input_ids` [tokens] of all sequences end to end, their `lengths`, the `longest` of them,
    and for each task in the step its `rows`: indices of sequences, [n], or [n, 2] for pairs encoded apart.

    >>> from hf_multitask import SST, MinBertConfig
    >>> from hf_multitask.models.encoding import Encoded, flatten
    >>> small = MinBertConfig(hidden_size=24, intermediate_size=48, num_hidden_layers=1)
    >>> model = MultitaskModel(MultitaskConfig(trunk=small, tasks={"sst": SST.describe()}))
    >>> batch = flatten(Encoded([[101, 2307, 102], [101, 102]]))
    >>> model(**batch, rows={"sst": torch.tensor([0, 1])}).scores["sst"].shape
    torch.Size([2, 5])
    """

    config_class = MultitaskConfig
    config: MultitaskConfig
    base_model_prefix = "trunk"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: MultitaskConfig, trunk: PreTrainedModel | None = None):
        super().__init__(config)
        self.trunk = build_trunk(config) if trunk is None else trunk
        self.objectives = {name: config.objective(name) for name in config.tasks}
        self.heads = nn.ModuleDict(
            {
                name: build_head(
                    task["head"],
                    width=config.trunk.hidden_size,
                    outputs=self.objectives[name].outputs,
                    dropout=config.dropout,
                )
                for name, task in config.tasks.items()
            }
        )
        self.tokenizer_source: dict[str, Any] = {}
        self.loaded_tokenizer: PreTrainedTokenizerBase | None = None
        self.post_init()
        self.freeze_trunk(config.freeze_trunk)

    @classmethod
    def from_trunk(
        cls,
        trunk: str | Path,
        tasks: Mapping[str, dict[str, Any]],
        *,
        revision: str = "main",
        attn_implementation: str | None = None,
        **options: Any,
    ) -> "MultitaskModel":
        """New heads on a pretrained trunk: any BERT checkpoint, any other encoder, or the trunk of a MultitaskModel.

        `options` are fields of `MultitaskConfig`. The trunk's tokenizer comes along.
        """
        config = AutoConfig.from_pretrained(trunk, revision=revision)
        loading = {"revision": revision, "attn_implementation": attn_implementation}
        if isinstance(config, MultitaskConfig):
            loaded: PreTrainedModel = cls.from_pretrained(trunk, **loading).trunk
        else:
            loaded = load_encoder(trunk, config, pooler=options.get("pooling") == "pooler", **loading)
        model = cls(MultitaskConfig(trunk=loaded.config, tasks=dict(tasks), **options), trunk=loaded)
        model.tokenizer_source = {"pretrained_model_name_or_path": trunk, "revision": revision}
        return model

    @classmethod
    def from_pretrained(cls, path: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        model = super().from_pretrained(path, *args, **kwargs)
        hub = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
        source = {key: kwargs[key] for key in hub if key in kwargs}
        loaded: MultitaskModel = model[0] if isinstance(model, tuple) else model
        loaded.tokenizer_source = {"pretrained_model_name_or_path": path, **source}
        loaded.freeze_trunk(loaded.config.freeze_trunk)
        return model

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Save the model with its tokenizer, so that the folder answers raw text."""
        super().save_pretrained(save_directory, *args, **kwargs)
        if kwargs.get("is_main_process", True) and (self.loaded_tokenizer or self.tokenizer_source):
            self.tokenizer.save_pretrained(save_directory)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that lies beside the weights."""
        if self.loaded_tokenizer is None:
            if not self.tokenizer_source:
                raise ValueError("This model was built without a tokenizer. Set `model.tokenizer = ...` first.")
            self.loaded_tokenizer = AutoTokenizer.from_pretrained(**self.tokenizer_source)
        return self.loaded_tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.loaded_tokenizer = tokenizer

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """What each task reads and answers, as `Task.describe()` gives it."""
        return self.config.tasks

    def get_input_embeddings(self) -> nn.Module:
        return self.trunk.get_input_embeddings()

    def freeze_trunk(self, frozen: bool = True) -> None:
        """Train the heads alone, on what the trunk gives without dropout; or, with False, everything."""
        self.config.freeze_trunk = frozen
        for name, parameter in self.trunk.named_parameters():
            unread = name.startswith("pooler.") and self.config.pooling != "pooler"
            parameter.requires_grad_(not frozen and not unread)
        self.train(self.training)

    def train(self, mode: bool = True) -> "MultitaskModel":
        super().train(mode)
        if self.config.freeze_trunk:
            self.trunk.eval()
        return self

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Cosine) and module.scalars is not None:
            init.copy_(module.scalars, torch.tensor(module.start))

    def forward(
        self,
        input_ids: Tensor,
        lengths: Tensor,
        longest: int,
        rows: dict[str, Tensor],
        token_type_ids: Tensor | None = None,
        labels: dict[str, Tensor] | None = None,
        weights: dict[str, Tensor] | None = None,
    ) -> MultitaskOutput:
        """Scores, and with `labels` the losses: each the sum of its rows' losses times their `weights` (1/n each)."""
        packing = Packing.from_lengths(lengths, tokens=input_ids.shape[0], length=longest)
        pooled = self.pool(input_ids, token_type_ids, packing)
        # In the configuration's order, so that every process builds the same graph.
        scores = {name: self.score(name, pooled, rows[name]) for name in self.config.tasks if name in rows}
        if len(scores) < len(rows):
            for name in rows:
                self.config.known(name)
        if labels is None:
            return MultitaskOutput(scores=scores)
        losses = {}
        for name, score in scores.items():
            each = self.objectives[name].loss(score.float(), labels[name])
            losses[name] = each.mean() if weights is None else (each * weights[name]).sum()
        return MultitaskOutput(loss=torch.stack(list(losses.values())).sum(), losses=losses, scores=scores)

    def pool(self, input_ids: Tensor, token_type_ids: Tensor | None, packing: Packing) -> Tensor:
        """One vector a sequence [rows, width]."""
        if isinstance(self.trunk, MinBertModel):
            output = self.trunk(input_ids, token_type_ids=token_type_ids, packing=packing)
            hidden = output.last_hidden_state
        else:
            segments = {} if token_type_ids is None else {"token_type_ids": packing.pad(token_type_ids)}
            mask = packing.pad(torch.ones_like(input_ids))
            output = self.trunk(input_ids=packing.pad(input_ids), attention_mask=mask, **segments)
            hidden = packing.unpad(output.last_hidden_state)
        if self.config.pooling == "pooler":
            return output.pooler_output
        if self.config.pooling == "cls":
            return hidden[packing.starts]
        return packing.pad(hidden).sum(1) / packing.lengths[:, None]

    def score(self, name: str, pooled: Tensor, rows: Tensor) -> Tensor:
        """What the head of a task gives for its sequences [n, outputs]."""
        texts = [pooled[rows]] if rows.dim() == 1 else [pooled[rows[:, 0]], pooled[rows[:, 1]]]
        return self.heads[name](*texts)

    @torch.no_grad()
    def predict(
        self, task: str, first: Sequence[str], second: Sequence[str] | None = None, *, batch_size: int = 64
    ) -> Prediction:
        """Answers to raw texts, in their order; sequences of near lengths run together."""
        check_texts(task, first, second, pair=self.config.known(task)["pair"])
        apart = second is not None and self.config.texts(task) == 2
        sides = [(first, second)] if not apart else [(first, None), (second, None)]
        encoded = [encode(self.tokenizer, *side, max_length=self.config.max_length) for side in sides]
        sizes = torch.tensor([[len(ids) for ids in side.input_ids] for side in encoded])
        order = sizes.sum(0).argsort(descending=True, stable=True)
        scores = torch.empty(len(first), self.objectives[task].outputs)
        training = self.training
        self.eval()
        for chosen in order.split(batch_size) if first else ():
            batch = flatten(*(side.take(chosen.tolist()) for side in encoded))
            rows = torch.arange(len(batch["lengths"])).view(len(encoded), -1).T.squeeze(-1)
            batch = {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            batch["rows"] = {task: rows.to(self.device)}
            scores[chosen] = self(**batch).scores[task].float().cpu()
        self.train(training)
        return self.objectives[task].decode(scores)


def check_texts(task: str, first: Sequence[str], second: Sequence[str] | None, *, pair: bool) -> None:
    """Raise where the texts do not suit the task."""
    if pair != (second is not None):
        want, got = ("two texts", "one") if pair else ("one text", "two")
        raise ValueError(f"Task '{task}' reads {want} a row. Got {got}.")
    if isinstance(first, str) or isinstance(second, str):
        raise ValueError("predict takes lists of texts, such as predict('sst', ['A fine film.']). Got one string.")
    if second is not None and len(first) != len(second):
        raise ValueError(f"Both sides of a pair must be equally many. Got {len(first)} and {len(second)} texts.")


def build_trunk(config: MultitaskConfig) -> PreTrainedModel:
    """A trunk without its weights."""
    if config.trunk.model_type == "minbert":
        return MinBertModel(config.trunk, add_pooling_layer=config.pooling == "pooler")
    return AutoModel.from_config(config.trunk)


def load_encoder(path: str | Path, config: Any, *, pooler: bool, **loading: Any) -> PreTrainedModel:
    """A pretrained encoder, BERT as `MinBertModel`; refused where weights are missing or the model is none."""
    if config.is_encoder_decoder or config.model_type not in {**MODEL_FOR_MASKED_LM_MAPPING_NAMES, "minbert": ""}:
        raise ValueError(f"A trunk must be an encoder such as BERT or RoBERTa. {path} holds a '{config.model_type}'.")
    if config.model_type in ("bert", "minbert"):
        loading["add_pooling_layer"] = pooler
    loader: Any = MinBertModel if config.model_type in ("bert", "minbert") else AutoModel
    model, report = loader.from_pretrained(path, output_loading_info=True, **loading)
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler.") or pooler)
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ValueError(f"{path} lacks weights of a '{config.model_type}' encoder: {shown}. Is it another model?")
    return model
