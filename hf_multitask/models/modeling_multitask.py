"""One trunk, many tasks: `MultitaskModel`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers import initialization as init
from transformers.utils import SAFE_WEIGHTS_NAME, ModelOutput

from .adapters import FOLDER, add_adapter, base_key, check_names, is_adapter, load_adapter, norms, save_adapter
from .batch import Batch
from .configuration_multitask import MultitaskConfig
from .dropout import without_dropout
from .encoding import Texts, check_texts
from .exports import to_cross_encoder, to_sentence_transformer
from .heads import Cosine, build_head
from .members import HUB, check_weights, fetch
from .objectives import Prediction
from .pushing import PUSHING, Pushed
from .replay import Replay
from .trunks import build_trunk, load_encoder, run_trunk

__all__ = ["MultitaskModel", "MultitaskOutput"]

SWITCHING = RLock()
"""Held while a model has the adapter of one task alone."""

MIXES = ("PAL",)
"""The PEFT methods whose adapters share a pass in training, by `adapter_names`."""


@dataclass
class MultitaskOutput(ModelOutput):
    """What one pass gives, by task: `losses` (weighted means), `penalties` where there is a regularizer, and `scores`
    [n, outputs]; `loss` is the sum of losses and penalties."""

    loss: Tensor | None = None
    losses: dict[str, Tensor] | None = None
    penalties: dict[str, Tensor] | None = None
    scores: dict[str, Tensor] | None = None


Regularize = Callable[[Replay, dict[str, Tensor], dict[str, Tensor]], dict[str, Tensor]]
"""From a pass that can be repeated, its scores and its rows' weights, to a penalty for each task."""


class MultitaskModel(Pushed, PreTrainedModel):  # type: ignore[misc]
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
        if config.pooling == "pooler" and getattr(self.trunk, "pooler", None) is None:
            raise ValueError("pooling: this trunk has no pooler. Take mean or cls.")
        self.objectives = {name: config.objective(name) for name in config.tasks}
        self.heads = nn.ModuleDict(
            {
                name: build_head(
                    task["head"],
                    width=config.trunk.hidden_size,
                    outputs=self.objectives[name].outputs,
                    reach=self.objectives[name].reach,
                    dropout=config.dropout,
                )
                for name, task in config.tasks.items()
            }
        )
        self.tokenizer_source: dict[str, Any] = {}
        self.loaded_tokenizer: PreTrainedTokenizerBase | None = None
        self.post_init()
        # Word embeddings are read apart from the trunk, so FSDP must be free to make them a unit of their own.
        self._no_split_modules = {name for name in self._no_split_modules or () if "Embeddings" not in name}
        self.choose_trained()

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

        `options` are fields of `MultitaskConfig`. The trunk's tokenizer comes along, and no adapters do.
        """
        config = AutoConfig.from_pretrained(trunk, revision=revision)
        # In whatever precision a checkpoint lies: what trains is float32, as the heads are.
        loading: dict[str, Any] = {"revision": revision, "attn_implementation": attn_implementation}
        loading["dtype"] = torch.float32
        if isinstance(config, MultitaskConfig):
            loaded: PreTrainedModel = cls.from_pretrained(trunk, adapters=False, **loading).trunk
        else:
            loaded = load_encoder(trunk, config, pooler=options.get("pooling") == "pooler", **loading)
        model = cls(MultitaskConfig(trunk=loaded.config, tasks=dict(tasks), **options), trunk=loaded)
        model.tokenizer_source = {"pretrained_model_name_or_path": trunk, "revision": revision}
        return model

    @classmethod
    def from_pretrained(cls, path: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """A model of a folder, or of a repo on the Hub, of which all is read at one commit; never a pickle."""
        source = {key: kwargs.pop(key) for key in (*HUB, "subfolder") if key in kwargs}
        folder = fetch(path, **source)
        check_weights(folder, str(path))
        model = super().from_pretrained(folder, *args, **{**kwargs, "use_safetensors": True})
        loaded: MultitaskModel = model[0] if isinstance(model, tuple) else model
        loaded.name_or_path = loaded.config._name_or_path = str(path)
        # With its configuration, so that nobody looks for the class of one.
        loaded.tokenizer_source = {"pretrained_model_name_or_path": folder, "config": loaded.config}
        if loaded.config.adapters:
            for name in loaded.config.tasks:
                load_adapter(loaded.trunk, name, folder)
            loaded.trunk.set_adapter(list(loaded.config.tasks))
        loaded.choose_trained()
        return model

    def save_pretrained(  # type: ignore[override]
        self, save_directory: Any, is_main_process: bool = True, state_dict: dict | None = None, **kwargs: Any
    ) -> None:
        """Save the model with its tokenizer, so that the folder answers raw text; each adapter in a folder of its own.

        The weights of the trunk go under the names that they have without adapters.
        """
        pushing = {key: kwargs.pop(key) for key in PUSHING if key in kwargs}
        self.forget_code()
        state = self.state_dict() if state_dict is None else state_dict
        if is_main_process and self.config.adapters:
            inner = {key.removeprefix("trunk."): value for key, value in state.items() if key.startswith("trunk.")}
            for name in self.config.tasks:
                save_adapter(self.trunk, name, Path(save_directory, FOLDER, name), inner)
        super().save_pretrained(save_directory, is_main_process, self.without_adapters(state), **kwargs)
        if is_main_process and (self.loaded_tokenizer or self.tokenizer_source):
            self.tokenizer.save_pretrained(save_directory)
        if is_main_process:
            self.push_if_asked(save_directory, **pushing)

    def restore(self, folder: str | Path) -> None:
        """Take the weights that a model like this one was saved with."""
        kept = load_file(Path(folder, SAFE_WEIGHTS_NAME))
        names = self.without_adapters({key: key for key in self.state_dict()})
        # Strictly but for the adapters, which have files of their own.
        wrong = self.load_state_dict({names.get(key, key): weight for key, weight in kept.items()}, strict=False)
        missing = [key for key in wrong.missing_keys if key in names.values()]
        if odd := [*missing, *wrong.unexpected_keys]:
            raise ValueError(f"{folder} was saved from another model: {', '.join(odd[:3])} are missing or left over.")
        if self.config.adapters:
            for name in self.config.tasks:
                load_adapter(self.trunk, name, Path(folder))

    def without_adapters(self, keys: Mapping[str, Any]) -> dict[str, Any]:
        """What is named as in the model's state, without the adapters' part of it and as if there were none."""
        if not self.config.adapters:
            return dict(keys)
        return {
            base_key(key): value
            for key, value in keys.items()
            if not (key.startswith("trunk.") and is_adapter(key, self.config.tasks))
        }

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

    def resize_token_embeddings(self, *args: Any, **options: Any) -> nn.Embedding:
        """The trunk's, which keeps its own count of them."""
        return self.trunk.resize_token_embeddings(*args, **options)

    def add_adapters(self, config: Any) -> None:
        """Give every task an adapter of its own: Projected Attention Layers (`PalConfig`), or another method of PEFT's.

        PALs of several tasks work in one pass of the trunk; other methods take a pass for each task.
        """
        if self.config.adapters:
            raise ValueError("This model has its adapters already.")
        check_names(self.trunk, self.config.tasks)
        # What AutoPeftModel builds an adapter's base with.
        config.auto_mapping = {"base_model_class": "AutoModel", "parent_library": "transformers"}
        for name in self.config.tasks:
            add_adapter(self.trunk, name, config)
        self.trunk.set_adapter(list(self.config.tasks))
        self.config.adapters = True
        # Layers share the projections of PALs, so FSDP must divide them up apart from every layer.
        shared = {type(module).__name__ for module in self.trunk.modules()} & {"Projection"}
        self._no_split_modules = {*(self._no_split_modules or ()), *shared}
        self.choose_trained()

    def freeze_trunk(self, frozen: bool = True) -> None:
        """Train the heads and adapters alone; or, with False, everything."""
        self.config.freeze_trunk = frozen
        self.choose_trained()

    def choose_trained(self) -> None:
        """Let learn what the configuration says."""
        frozen, normal = self.config.freeze_trunk, norms(self.trunk) if self.config.train_norms else set()
        for name, parameter in self.trunk.named_parameters():
            unread = name.startswith("pooler.") and self.config.pooling != "pooler"
            adapter = self.config.adapters and is_adapter(name, self.config.tasks)
            parameter.requires_grad_((adapter or not frozen or parameter in normal) and not unread)
        self.train(self.training)

    def train(self, mode: bool = True) -> "MultitaskModel":
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.trunk.parameters()):
            # Nothing in it learns, so nothing needs its dropout.
            self.trunk.eval()
        return self

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Cosine) and module.scalars is not None:
            init.zeros_(module.scalars)

    def forward(
        self,
        input_ids: Tensor,
        lengths: Tensor,
        longest: int,
        rows: dict[str, Tensor],
        token_type_ids: Tensor | None = None,
        labels: dict[str, Tensor] | None = None,
        weights: dict[str, Tensor] | None = None,
        regularize: Regularize | None = None,
    ) -> MultitaskOutput:
        """Scores, and with `labels` the losses: each the sum of its rows' losses times their `weights` (1/n each).

        What `regularize` needs to run again runs here too: several calls would confuse what wraps a model that several
        processes train.
        """
        for name in rows:
            self.config.known(name)
        # In the configuration's order, so that every process builds the same graph.
        ordered = {name: rows[name] for name in self.config.tasks if name in rows}
        batch = Batch.of(input_ids, lengths, longest, ordered, token_type_ids)
        replay = None if regularize is None else Replay(self, batch)
        scores = self.read(batch) if replay is None else replay.first()
        if labels is None:
            return MultitaskOutput(scores=scores)
        if weights is None:
            counts = {name: len(labels[name]) for name in scores}
            weights = {name: torch.full((n,), 1 / n, device=labels[name].device) for name, n in counts.items()}
        losses = {
            name: (self.objectives[name].loss(score.float(), labels[name]) * weights[name]).sum()
            for name, score in scores.items()
        }
        penalties = regularize(replay, scores, weights) if regularize and replay else None
        loss = torch.stack([*losses.values(), *(penalties or {}).values()]).sum()
        return MultitaskOutput(loss=loss, losses=losses, penalties=penalties, scores=scores)

    def read(self, batch: Batch, words: Tensor | None = None) -> dict[str, Tensor]:
        """The scores of each task [n, outputs]; `words` [tokens, width] stand in for the batch's word embeddings."""
        pooled = self.pool(batch, words)
        return {name: self.score(name, pooled, rows) for name, rows in batch.rows.items()}

    def pool(self, batch: Batch, words: Tensor | None = None) -> Tensor:
        """One vector a sequence [rows, width], by the adapter of the task that reads it."""
        if not self.config.adapters:
            return self.pass_trunk(batch, words)
        readers = batch.readers()
        if self.mixes:
            return self.pass_trunk(batch, words, adapter_names=[name or "__base__" for name in readers])
        if self.training and self.trunk.is_activation_checkpointing:
            raise ValueError(
                "Activation checkpointing works with PALs, and not with this kind of adapter: a part that is computed "
                "again would meet another task's adapter. Turn it off."
            )
        # In training nobody else asks; otherwise another thread would meet the adapter of this one's task.
        with nullcontext() if self.training else SWITCHING:
            order, pooled = self.pass_by_task(batch, words)
        rows = pooled[0].new_zeros(batch.packing.rows, pooled[0].shape[1])
        return rows.index_copy(0, torch.cat(order), torch.cat(pooled))

    def pass_by_task(self, batch: Batch, words: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        """The sequences of each task in a pass under its own adapter alone: their numbers, and their pooled rows."""
        order, pooled = [], []
        try:
            for name, rows in batch.rows.items():
                sequences = rows.flatten().sort().values
                self.trunk.set_adapter(name)
                own = None if words is None else words[batch.tokens_of(sequences)]
                pooled.append(self.pass_trunk(batch.only(sequences), own))
                order.append(sequences)
        finally:
            # Set together, all may learn again: a gradient reaches no weight that is frozen when it arrives.
            self.trunk.set_adapter(list(self.config.tasks))
        return order, pooled

    @property
    def mixes(self) -> bool:
        """Whether the adapters of several tasks work in one pass."""
        return all(config.peft_type in MIXES for config in self.trunk.peft_config.values())

    def pass_trunk(self, batch: Batch, words: Tensor | None = None, **options: Any) -> Tensor:
        """One pass of the trunk, pooled [rows, width]."""
        hidden, pooler = run_trunk(self.trunk, batch, words, **options)
        packing = batch.packing
        if self.config.pooling == "pooler":
            return pooler
        if self.config.pooling == "cls":
            return hidden[packing.starts]
        return packing.pad(hidden).sum(1) / packing.lengths[:, None]

    def score(self, name: str, pooled: Tensor, rows: Tensor) -> Tensor:
        """What the head of a task gives for its sequences [n, outputs].

        Autocast ends before the heads: half precision would round away by how little scores differ.
        """
        texts = [pooled[rows]] if rows.dim() == 1 else [pooled[rows[:, 0]], pooled[rows[:, 1]]]
        if not torch.is_autocast_enabled(pooled.device.type):
            return self.heads[name](*texts)
        with torch.autocast(pooled.device.type, enabled=False):
            return self.heads[name](*(text.float() for text in texts))

    def predict(
        self, task: str, first: Sequence[str], second: Sequence[str] | None = None, *, batch_size: int = 64
    ) -> Prediction:
        """Answers to raw texts, in their order; sequences of near lengths run together."""
        check_texts(task, first, second, pair=self.config.known(task)["pair"])
        return self.objectives[task].decode(self.answer(task, Texts(first, second), batch_size=batch_size))

    @torch.no_grad()
    def answer(self, task: str, texts: Texts, *, batch_size: int = 64) -> Tensor:
        """The scores of a task [n, outputs] for texts that others may have read before."""
        apart = self.config.texts(task) == 2
        reading = texts.read(self.tokenizer, apart=apart, max_length=self.config.max_length)
        scores = torch.empty(len(texts), self.objectives[task].outputs)
        with without_dropout(self):
            for chosen, batch in reading.batches(batch_size, self.device):
                scores[chosen] = self(**batch | {"rows": {task: batch["rows"]}}).scores[task].float().cpu()
        return scores / self.config.temperatures.get(task, 1.0)

    @torch.no_grad()
    def embed(self, task: str, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
        """What the head of a task reads of single texts [n, width], in their order."""
        self.config.known(task)
        reading = Texts(texts).read(self.tokenizer, apart=False, max_length=self.config.max_length)
        vectors = torch.empty(len(texts), self.config.trunk.hidden_size)
        with without_dropout(self):
            for chosen, flat in reading.batches(batch_size, self.device):
                batch = Batch.of(**flat | {"rows": {task: flat["rows"]}})
                vectors[chosen] = self.pool(batch).float().cpu()
        return vectors

    def to_sentence_transformer(self, task: str | None = None) -> Any:
        """A `SentenceTransformer` with this model's pooled rows, stock parts only; `task` where it has adapters."""
        return to_sentence_transformer(self, task)

    def to_cross_encoder(self, task: str) -> Any:
        """A `CrossEncoder` with this model's scores of a pair task whose texts are read together."""
        return to_cross_encoder(self, task)
