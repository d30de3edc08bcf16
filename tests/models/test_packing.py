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
