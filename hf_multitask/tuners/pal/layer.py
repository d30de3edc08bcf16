"""The attention that runs beside a layer, and the tuner layer that adds it inside the layer's last LayerNorm."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.activations import ACT2FN

from ...models.attention import attend
from ...models.modeling_minbert import Layout
from ...models.packing import Packing, count_from, gather, spread
from .config import PalConfig

__all__ = ["MERGING", "Pal", "PalLayer", "carry"]

BASE = "__base__"
FLASH = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "position_ids")
MERGING = (
    "A PAL cannot be merged: its attention reads the whole sequence beside the layer, "
    "and no weights of the layer compute the same. Keep the adapter, or call unload() to get the base model back."
)


class Projection(nn.Linear):
    """A Linear that several layers may share, which FSDP must therefore divide up apart from all of them."""


class Pal(nn.Module):
    """TS(h) = V_D SA(V_E h): one task's attention beside one layer (Stickland & Murray, 2019, section 3.3).

    `down` is V_E, `up` is V_D, and `qkv` holds SA's three projections. Where `shared` is the task's Pal beside an
    earlier layer, `down` and `up` are that one's. SA attends in both directions, as far as the layer's own mask lets
    it, by the attention function that `attention_config` names.
    """

    is_causal = False

    def __init__(self, config: PalConfig, hidden_size: int, attention_config: Any, shared: "Pal | None" = None):
        super().__init__()
        self.config = attention_config
        self.heads = config.heads
        self.dropout = config.attention_dropout
        # In a tuple, a module is no submodule: what layers share is owned, counted and saved by the first one alone.
        self.owner = () if shared is None else (shared,)
        if shared is None:
            self.down = Projection(hidden_size, config.width)
            self.up = Projection(config.width, hidden_size)
        self.qkv = nn.Linear(config.width, 3 * config.width) if config.attention else None
        self.activation = nn.Identity() if config.activation is None else ACT2FN[config.activation]
        self.initialise(std=config.init_std, zero=config.init_weights)

    def initialise(self, *, std: float | None, zero: bool) -> None:
        for name, linear in self.named_children():
            if not isinstance(linear, nn.Linear):
                continue
            if std is not None:
                nn.init.normal_(linear.weight, std=std)
                nn.init.zeros_(linear.bias)
            if zero and name == "up":
                nn.init.zeros_(linear.weight)
                nn.init.zeros_(linear.bias)

    @property
    def projections(self) -> tuple[nn.Linear, nn.Linear]:
        """V_E and V_D."""
        owner = self.owner[0] if self.owner else self
        return owner.down, owner.up

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        down, up = self.projections
        low = down(hidden.to(down.weight.dtype))
        return self.activation(up(low if self.qkv is None else self.attend(self.qkv(low), layout))).to(hidden.dtype)

    def attend(self, qkv: Tensor, layout: Layout) -> Tensor:
        if layout.blocks:
            return layout.in_blocks(lambda block, part: self.attend(part, block), qkv)
        mask = layout.mask
        if isinstance(mask, Tensor) and mask.is_floating_point():
            mask = mask.to(qkv.dtype)
        query, key, value = layout.split_heads(qkv, 3 * self.heads).chunk(3, dim=1)
        mixed, _ = attend(self, query, key, value, mask, **layout.flash)
        return layout.merge_heads(mixed)


@dataclass(frozen=True)
class Shares:
    """How a pass is dealt out: `order` brings each adapter's hidden states together (None: they are), then each part.

    A part is the adapter's name, the number of its hidden states in the first dimension, and their own layout.
    """

    order: Tensor | None
    parts: list[tuple[str, int, Layout]]


class PalLayer(nn.Module, BaseTunerLayer):
    """Wraps a layer's `output`: adds the adapters' TS(h) to the residual, hence inside the LayerNorm.

    minBERT hands h and its layout over. Elsewhere `carry`, hooked to the layer's attention, leaves them on the tensor
    that becomes the residual. Nothing of a pass is ever kept on a module.
    """

    adapter_layer_names = ("pal_adapters",)
    base_layer: nn.Module
    pal_adapters: nn.ModuleDict

    def __init__(self, base_layer: nn.Module, attention_config: Any, handle: RemovableHandle | None):
        super().__init__()
        self.base_layer = base_layer
        self.attention_config = attention_config
        self.handle = handle
        self.pal_adapters = nn.ModuleDict()
        self.configs: Mapping[str, Any] = {}

    def update_layer(self, adapter_name: str, config: PalConfig, shared: Pal | None) -> None:
        """Add an adapter; `shared` is its Pal beside an earlier layer, where they share projections."""
        norm: Any = self.get_base_layer().LayerNorm
        self.pal_adapters[adapter_name] = Pal(config, norm.weight.shape[0], self.attention_config, shared)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, hidden: Tensor, residual: Tensor, *beside: Any) -> Tensor:
        if self.disable_adapters:
            return self.base_layer(hidden, residual)
        entered, layout = beside or residual.pal_beside  # type: ignore[attr-defined]
        if layout.adapters is not None:
            return self.base_layer(hidden, residual + self.deal(entered, layout))
        for name in self.active_adapters:
            if name in self.pal_adapters:
                residual = residual + self.pal_adapters[name](entered, layout)
        return self.base_layer(hidden, residual)

    def deal(self, entered: Tensor, layout: Layout) -> Tensor:
        """What the sequences' own adapters add, each to its own sequences alone."""
        if layout.shares is None:
            layout.shares = share(layout, entered, self.attention_config)
        shares: Shares = layout.shares
        if unknown := {name for name, _, _ in shares.parts} - {BASE, *self.configs}:
            raise ValueError(
                f"Trying to infer with non-existing adapter(s): {', '.join(sorted(unknown))}. "
                f"adapter_names may hold {', '.join(sorted(self.configs))}, and {BASE} for none."
            )
        seen = entered if shares.order is None else gather(entered, shares.order)
        pieces = seen.split([size for _, size, _ in shares.parts])
        added = torch.cat(
            [
                self.pal_adapters[name](piece, part) if name in self.pal_adapters else torch.zeros_like(piece)
                for (name, _, part), piece in zip(shares.parts, pieces, strict=True)
            ]
        )
        return added if shares.order is None else spread(added, shares.order, entered.shape[0])

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise ValueError(MERGING)

    def unmerge(self) -> None:
        raise ValueError(MERGING)

    def _get_base_layer_device_and_dtype(self, base_layer: Any) -> tuple[torch.device, torch.dtype]:
        # The dense layer's weights may be quantized; the LayerNorm's never are.
        return base_layer.LayerNorm.weight.device, base_layer.LayerNorm.weight.dtype


def carry(attention: nn.Module, args: tuple, kwargs: dict[str, Any], output: tuple[Tensor, Any]) -> None:
    """A forward hook on a layer's attention: leave what entered the layer, and its layout, on what the attention gives.

    The tensor outlives the hook by exactly as long as the layer needs it, whatever threads, checkpointing or a
    second forward do to the module meanwhile.
    """
    hidden, mask = args
    flash = {key: kwargs[key] for key in FLASH if kwargs.get(key) is not None}
    output[0].pal_beside = hidden, Layout(mask, flash=flash, adapters=kwargs.get("adapter_names"))  # type: ignore


def share(layout: Layout, hidden: Tensor, attention_config: Any) -> Shares:
    """Deal the sequences of a pass out to their adapters."""
    names, packing = list(layout.adapters or ()), layout.packing
    count = hidden.shape[0] if packing is None else packing.rows
    if len(names) != count:
        raise ValueError(
            "Length of `adapter_names` should be the same as the number of inputs, "
            f"but got {len(names)} names for {count} sequences. Give one name a sequence."
        )
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        groups.setdefault(name, []).append(row)
    if len(groups) == 1:
        # A copy: what holds itself, FSDP cannot walk through.
        return Shares(None, [(names[0], hidden.shape[0], replace(layout))])
    rows = [row for group in groups.values() for row in group]
    order = None if rows == list(range(count)) else torch.tensor(rows, device=hidden.device)
    indices = torch.tensor(rows, device=hidden.device).split([len(group) for group in groups.values()])
    if packing is None:
        return Shares(order, [(n, len(groups[n]), take(layout, i)) for n, i in zip(groups, indices, strict=True)])
    lengths = packing.lengths.tolist()
    parts = []
    for (name, group), index in zip(groups.items(), indices, strict=True):
        tokens, longest = sum(lengths[row] for row in group), max(lengths[row] for row in group)
        own = Packing.from_lengths(packing.lengths[index], tokens=tokens, length=longest)
        parts.append((name, tokens, Layout.build(attention_config, hidden, own)))
    if order is not None:
        # Of sequences before, of tokens now.
        order = count_from(packing.starts[order], packing.lengths[order], tokens=hidden.shape[0])
    return Shares(order, parts)


def take(layout: Layout, rows: Tensor) -> Layout:
    """The layout of some rows of padded input."""
    if "cu_seq_lens_q" in layout.flash or not isinstance(layout.mask, Tensor | None):
        raise ValueError("adapter_names need padded input under eager, sdpa or flash attention, or a MinBertModel.")
    return Layout(layout.mask if layout.mask is None or layout.mask.shape[0] == 1 else layout.mask[rows])
