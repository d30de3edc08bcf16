import pytest
import torch

from hf_multitask.models.packing import Packing


@pytest.mark.parametrize("lengths", [[3], [1, 1], [4, 2, 7, 1], [5, 5]])
def test_pad_and_unpad_are_inverse_and_carry_gradients(lengths):
    packing = Packing.from_lengths(torch.tensor(lengths), tokens=sum(lengths), length=max(lengths))
    flat = torch.randn(sum(lengths), 3, dtype=torch.float64, requires_grad=True)
    padded = packing.pad(flat)
    assert padded.shape == (len(lengths), max(lengths), 3)
    torch.testing.assert_close(packing.unpad(padded), flat)
    for row, (length, part) in enumerate(zip(lengths, flat.split(lengths), strict=True)):
        torch.testing.assert_close(padded[row, :length], part)
        assert not padded[row, length:].any()
    assert torch.autograd.gradcheck(packing.pad, flat)
    assert torch.autograd.gradcheck(packing.unpad, padded.detach().requires_grad_())
    assert torch.autograd.gradgradcheck(packing.pad, flat)


@pytest.mark.parametrize("lengths", [[4, 2, 7, 1], [5, 5]])
def test_from_mask_equals_from_lengths(lengths):
    lengths = torch.tensor(lengths)
    one = Packing.from_lengths(lengths, tokens=int(lengths.sum()), length=int(lengths.max()))
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    other = Packing.from_mask(mask)
    assert (one.index is None) == (other.index is None) == bool(mask.all())
    if one.index is not None:
        assert torch.equal(one.index, other.index)
        assert torch.equal(one.mask, mask)
    assert torch.equal(one.starts, lengths.cumsum(0) - lengths)


def test_left_padding_is_left_out_too():
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    packing = Packing.from_mask(mask)
    padded = torch.arange(6.0).view(2, 3, 1)
    assert packing.unpad(padded).flatten().tolist() == [1, 2, 3, 4, 5]
    assert torch.equal(packing.pad(packing.unpad(padded)), padded * mask[..., None])


@pytest.mark.parametrize("lengths", [[5], [5, 5], [9, 2, 40, 3, 3, 60], [0, 9, 9], list(range(1, 30)), [30, 1] * 9])
def test_blocks_are_the_same_sequences_with_less_padding(lengths, monkeypatch):
    packing = Packing.from_lengths(torch.tensor(lengths), tokens=sum(lengths), length=max(lengths))
    monkeypatch.setattr("hf_multitask.models.packing.WORTH", 0)
    blocks = packing.blocks()
    assert torch.cat([block.lengths for block in blocks]).tolist() == lengths
    flat = torch.randn(sum(lengths), 3)
    pieces = flat.split([int(block.lengths.sum()) for block in blocks])
    parts = [block.unpad(block.pad(piece)) for block, piece in zip(blocks, pieces, strict=True)]
    assert torch.equal(torch.cat(parts), flat)
    spared = packing.rows * packing.length**2 - sum(block.rows * block.length**2 for block in blocks)
    assert spared > 0 or len(blocks) == 1


def test_a_cut_falls_where_it_spares_most():
    packing = Packing.from_lengths(torch.tensor([12] * 16 + [70] * 16 + [30] * 16), tokens=1792, length=70)
    assert [(block.rows, block.length) for block in packing.blocks()] == [(16, 12), (16, 70), (16, 30)]
    short = Packing.from_lengths(torch.tensor([9, 2, 9]), tokens=20, length=9)
    assert short.blocks() == [short]
