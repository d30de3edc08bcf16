"""Attention within each sequence, by whichever function is quickest where it runs."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .dropout import drop

__all__ = ["attend", "eager_attention"]


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,
    **flash: Any,
) -> tuple[Tensor, Tensor | None]:
    """softmax(q k^T / sqrt(size) + mask) v of [rows, heads, length, size] as [rows, length, heads, size].

    `module` has a `config` that names the function, and a probability of `dropout` while it trains.
    """
    name, dropout = module.config._attn_implementation, module.dropout if module.training else 0.0
    if name == "sdpa" and slow_when_fused(query, dropout):
        with torch.autocast("cpu", enabled=False):
            return eager_attention(
                module, query, key, value, additive(mask), scaling=query.shape[-1] ** -0.5, dropout=dropout
            )
    function = ALL_ATTENTION_FUNCTIONS.get_interface(name, eager_attention)
    return function(
        module, query, key, value, mask, dropout=dropout, scaling=query.shape[-1] ** -0.5, is_causal=False, **flash
    )


def slow_when_fused(query: Tensor, dropout: float) -> bool:
    """Whether a processor does it faster in plain steps: with dropout, and back through half precision."""
    half = query.dtype == torch.bfloat16 and query.requires_grad
    return query.device.type == "cpu" and not torch.compiler.is_compiling() and (dropout > 0 or half)


def additive(mask: Tensor | None) -> Tensor | None:
    """A mask to add to the logits, from one that says which to keep."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=torch.float).masked_fill(~mask, torch.finfo(torch.float).min)


def eager_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """The same in plain steps, with the weights [rows, heads, length, length]."""
    logits = (query * scaling) @ key.transpose(-1, -2)
    # In single precision at least: exact, and on a processor twice as fast as in half precision.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float))
    weights = (logits if mask is None else logits + mask).softmax(-1)
    weights = (drop(weights, dropout) if dropout else weights).to(value.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), weights
