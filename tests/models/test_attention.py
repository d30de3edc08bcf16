from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_multitask.models.attention import attend, slow_when_fused

ROWS, HEADS, LENGTH, SIZE = 3, 2, 7, 5


class Attending(nn.Module):
    is_causal = False

    def __init__(self, name, dropout=0.0):
        super().__init__()
        self.config, self.dropout = SimpleNamespace(_attn_implementation=name), dropout


def heads(dtype):
    torch.manual_seed(0)
    return [torch.randn(ROWS, HEADS, LENGTH, SIZE, dtype=dtype, requires_grad=True) for _ in range(3)]


def mask_of(*lengths):
    return (torch.arange(LENGTH) < torch.tensor(lengths)[:, None])[:, None, None].expand(-1, 1, LENGTH, -1)


def by_hand(query, key, value, mask):
    """softmax(q k^T / sqrt(size)) v over the kept keys, one query at a time, in double precision."""
    mixed = torch.zeros(ROWS, LENGTH, HEADS, SIZE, dtype=torch.double)
    for row in range(ROWS):
        keep = mask[row, 0, 0]
        for head in range(HEADS):
            for i in range(LENGTH):
                logits = key[row, head, keep].double() @ query[row, head, i].double() / SIZE**0.5
                mixed[row, i, head] = logits.softmax(0) @ value[row, head, keep].double()
    return mixed


@pytest.mark.parametrize(
    ("name", "dropout", "dtype", "tolerance"),
    [
        ("sdpa", 0.0, torch.double, 1e-12),
        ("sdpa", 1e-9, torch.double, 1e-12),
        ("sdpa", 1e-9, torch.float, 1e-5),
        ("sdpa", 0.0, torch.bfloat16, 0.03),
    ],
    ids=["fused", "in steps", "in steps, single", "in steps, half"],
)
def test_every_way_equals_a_loop(name, dropout, dtype, tolerance):
    module, parts, mask = Attending(name, dropout), heads(dtype), mask_of(7, 4, 1)
    assert slow_when_fused(parts[0], dropout) == (dropout > 0 or dtype == torch.bfloat16)
    mixed, _ = attend(module, *parts, mask)
    expected = by_hand(*parts, mask)
    torch.testing.assert_close(mixed.double(), expected, atol=tolerance, rtol=0)
    weights = torch.randn_like(expected)
    found = torch.autograd.grad((mixed.double() * weights).sum(), parts)
    for one, other in zip(found, torch.autograd.grad((expected * weights).sum(), parts), strict=True):
        torch.testing.assert_close(one, other, atol=4 * tolerance, rtol=0)


def test_dropout_keeps_the_mean():
    module, parts, mask = Attending("sdpa", 0.5), [part.detach() for part in heads(torch.float)], mask_of(7, 4, 2)
    torch.manual_seed(1)
    mean = torch.stack([attend(module, *parts, mask)[0] for _ in range(3000)]).mean(0)
    torch.testing.assert_close(mean.double(), by_hand(*parts, mask), atol=0.12, rtol=0)


def test_in_autocast_the_steps_stay_in_half_precision():
    module, parts = Attending("sdpa", 0.1), heads(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, weights = attend(module, *parts, None)
    assert mixed.dtype == weights.dtype == torch.bfloat16


def test_without_dropout_and_gradients_the_named_function_runs():
    parts = [part.detach() for part in heads(torch.bfloat16)]
    assert attend(Attending("sdpa", 0.5).eval(), *parts, None)[1] is None
