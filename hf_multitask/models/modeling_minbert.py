"""BERT, written small and without padding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .attention import attend
from .configuration_minbert import MinBertConfig
from .dropout import Dropout
from .packing import Packing, count_from

__all__ = ["MinBertModel"]


class Embeddings(nn.Module):
    """Word, position and segment embeddings, summed and normalised."""

    def __init__(self, config: MinBertConfig):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, words: Tensor, segments: Tensor, positions: Tensor) -> Tensor:
        embedded = words + self.token_type_embeddings(segments) + self.position_embeddings(positions)
        return self.dropout(self.LayerNorm(embedded))


class SelfAttention(nn.Module):
    """Multi-head attention within each sequence: projections on flat tokens, attention on their padded view."""

    is_causal = False

    def __init__(self, config: MinBertConfig):
        super().__init__()
        self.config = config
        self.heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, layout: "Layout") -> tuple[Tensor, Tensor | None]:
        if torch.is_autocast_enabled(hidden.device.type):
            # Once, instead of in each of the three projections.
            hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
        projected = [projection(hidden) for projection in (self.query, self.key, self.value)]
        if not layout.blocks:
            return self.attend(layout, *projected)
        return layout.in_blocks(lambda *block: self.attend(*block)[0], *projected), None

    def attend(self, layout: "Layout", *projected: Tensor) -> tuple[Tensor, Tensor | None]:
        query, key, value = (layout.split_heads(x, self.heads) for x in projected)
        mixed, weights = attend(self, query, key, value, layout.mask, **layout.flash)
        return layout.merge_heads(mixed), weights


class Output(nn.Module):
    """LayerNorm(dropout(dense(x)) + residual).

    A layer's own also gets what entered the layer, and its layout: a tuner that wraps it works beside the layer.
    """

    def __init__(self, config: MinBertConfig, width: int):
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, residual: Tensor, *_: Any) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(hidden)) + residual)


class Attention(nn.Module):
    def __init__(self, config: MinBertConfig):
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Output(config, config.hidden_size)

    def forward(self, hidden: Tensor, layout: "Layout") -> Tensor:
        return self.output(self.self(hidden, layout)[0], hidden)


class Intermediate(nn.Module):
    def __init__(self, config: MinBertConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, hidden: Tensor) -> Tensor:
        return self.activation(self.dense(hidden))


class MinBertLayer(GradientCheckpointingLayer):
    """Attention, then feed-forward, each with its residual and LayerNorm."""

    def __init__(self, config: MinBertConfig):
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Output(config, config.intermediate_size)

    def forward(self, hidden: Tensor, layout: "Layout") -> Tensor:
        attended = self.attention(hidden, layout)
        return self.output(self.intermediate(attended), attended, hidden, layout)


class Encoder(nn.Module):
    def __init__(self, config: MinBertConfig):
        super().__init__()
        self.layer = nn.ModuleList(MinBertLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, hidden: Tensor, layout: "Layout") -> Tensor:
        for layer in self.layer:
            hidden = layer(hidden, layout)
        return hidden


class Pooler(nn.Module):
    """A dense tanh layer on each sequence's first token."""

    def __init__(self, config: MinBertConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, first: Tensor) -> Tensor:
        return torch.tanh(self.dense(first))


@dataclass
class Layout:
    """How the layers of one pass see their tokens: flat under `packing`, or as they come, [rows, length, ...].

    `adapters` names each sequence's adapter, where a pass serves several. `shares` is for the tuner, to keep how it
    deals the sequences out for as long as the pass lives. With `blocks`, attention goes over neighbouring sequences at
    a time, each block with a layout of its own: sequences of different lengths need not be padded to the longest.
    """

    mask: Any = None
    packing: Packing | None = None
    flash: dict[str, Any] = field(default_factory=dict)
    adapters: Sequence[str] | None = None
    shares: Any = None
    blocks: list["Layout"] = field(default_factory=list)

    @classmethod
    def build(
        cls, config: MinBertConfig, hidden: Tensor, packing: Packing | None, mask: Tensor | None = None
    ) -> "Layout":
        """For hidden states [tokens, width] under `packing`, or [rows, length, width] with an attention mask."""
        if packing is not None and "flash" in config._attn_implementation:
            return cls(packing=packing, flash=packing.flash_arguments())
        if packing is not None and hidden.device.type == "cpu" and not torch.compiler.is_compiling():
            parts = packing.blocks()
            if len(parts) > 1:
                return cls(packing=packing, blocks=[cls.padded(config, hidden, part) for part in parts])
        return cls.padded(config, hidden, packing, mask)

    @classmethod
    def padded(
        cls, config: MinBertConfig, hidden: Tensor, packing: Packing | None, mask: Tensor | None = None
    ) -> "Layout":
        """With a mask for all sequences together."""
        if packing is not None:
            hidden, mask = hidden.new_empty(()).expand(packing.rows, packing.length, 1), packing.mask
        return cls(create_bidirectional_mask(config=config, inputs_embeds=hidden, attention_mask=mask), packing)

    def in_blocks(self, attend: Callable[..., Tensor], *flat: Tensor) -> Tensor:
        """`attend(layout, *flat)` of each block, joined."""
        sizes = [int(block.packing.lengths.sum()) for block in self.blocks if block.packing is not None]
        pieces = zip(*(x.split(sizes) for x in flat), strict=True)
        return torch.cat([attend(block, *piece) for block, piece in zip(self.blocks, pieces, strict=True)])

    @property
    def varlen(self) -> bool:
        return self.packing is not None and bool(self.flash)

    def split_heads(self, x: Tensor, heads: int) -> Tensor:
        """[..., width] -> [rows, heads, length, size]; one row of all tokens for variable-length attention."""
        if self.packing is not None:
            x = x[None] if self.varlen else self.packing.pad(x)
        return x.view(*x.shape[:2], heads, -1).transpose(1, 2)

    def merge_heads(self, x: Tensor) -> Tensor:
        """[rows, length, heads, size] -> as the hidden states came."""
        x = x.flatten(2)
        if self.packing is None:
            return x
        return x[0] if self.varlen else self.packing.unpad(x)


class MinBertPreTrainedModel(PreTrainedModel):
    config_class = MinBertConfig
    config: MinBertConfig
    base_model_prefix = "bert"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["MinBertLayer"]
    _can_record_outputs = {"hidden_states": MinBertLayer, "attentions": SelfAttention}
    # What BERT checkpoints carry beside the encoder, and the pooler where the model has none.
    _keys_to_ignore_on_load_unexpected = [r"cls\.", r"position_ids$", r"pooler\."]

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        # transformers would look for the interface in this file; it stands in attention.py.
        return True


class MinBertModel(MinBertPreTrainedModel):
    """BERT's encoder, equal to `transformers.BertModel` on the same weights and checkpoints.

    Takes padded input, `input_ids` [rows, length] with an `attention_mask`, and gives padded output; or, with a
    `packing`, flat input [tokens] and flat output, and padding is never computed at all. `adapter_names`, one a
    sequence, goes to tuners that serve several adapters in one pass; "__base__" stands for none.

    >>> model = MinBertModel(MinBertConfig(hidden_size=24, intermediate_size=48, num_hidden_layers=1))
    >>> model(input_ids=torch.tensor([[101, 2023, 102]])).last_hidden_state.shape
    torch.Size([1, 3, 24])
    """

    def __init__(self, config: MinBertConfig, add_pooling_layer: bool = True):
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = Pooler(config) if add_pooling_layer else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embeddings.word_embeddings = cast(nn.Embedding, value)

    @can_return_tuple
    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        packing: Packing | None = None,
        adapter_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of input_ids and inputs_embeds.")
        words = self.embeddings.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        longest = words.shape[-2] if packing is None else packing.length
        if longest > self.config.max_position_embeddings:
            raise ValueError(
                f"Sequences may have {self.config.max_position_embeddings} tokens at most. Got {longest}. "
                "Truncate them when tokenizing: max_length."
            )
        if position_ids is None:
            position_ids = positions(words, packing)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(position_ids)
        if packing is not None or attention_mask is None or not self.unpads(attention_mask, kwargs):
            return self.encode(
                words, token_type_ids, position_ids, packing=packing, mask=attention_mask, adapters=adapter_names
            )
        packing = Packing.from_mask(attention_mask)
        words, token_type_ids, position_ids = (
            packing.unpad(t.expand(*words.shape[:2], *t.shape[2:])) for t in (words, token_type_ids, position_ids)
        )
        output = self.encode(words, token_type_ids, position_ids, packing=packing, adapters=adapter_names)
        padded = packing.pad(cast(Tensor, output.last_hidden_state))
        return BaseModelOutputWithPooling(last_hidden_state=padded, pooler_output=output.pooler_output)

    def unpads(self, mask: Tensor, requested: dict[str, Any]) -> bool:
        """Whether to leave padding out: not where a graph of fixed shape is traced, or padded records are asked for."""
        recording = requested.get("output_hidden_states") or requested.get("output_attentions")
        tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()
        return self.config.unpad and mask.dim() == 2 and not (recording or tracing)

    def encode(
        self,
        words: Tensor,
        segments: Tensor,
        positions: Tensor,
        *,
        packing: Packing | None = None,
        mask: Tensor | None = None,
        adapters: Sequence[str] | None = None,
    ) -> BaseModelOutputWithPooling:
        """From word embeddings on: [tokens, width] under `packing`, else [rows, length, width]."""
        hidden = self.embeddings(words, segments, positions)
        layout = Layout.build(self.config, hidden, packing, mask)
        layout.adapters = adapters
        hidden = self.encoder(hidden, layout)
        # A row without any word begins where the next one does, if there is one.
        first = hidden[:, 0] if packing is None else hidden[packing.starts.clamp(max=len(hidden) - 1)]
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden, pooler_output=None if self.pooler is None else self.pooler(first)
        )


def positions(words: Tensor, packing: Packing | None) -> Tensor:
    """0, 1, ... within each sequence: [1, length], or [tokens] under `packing`."""
    if packing is None:
        return torch.arange(words.shape[-2], device=words.device)[None]
    return count_from(torch.zeros_like(packing.lengths), packing.lengths, tokens=words.shape[0])
