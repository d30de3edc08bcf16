import pytest
import torch
from accelerate import Accelerator

from hf_multitask.training.curves import Curves, NotFinite


def filled(*values):
    curves = Curves(["a", "b", "c"])
    for step, (name, value) in enumerate(values, start=1):
        curves.add(name, torch.tensor(value), step=step, said=f"Number {step}".format)
    return curves


def test_means_are_of_what_came_since_they_were_read():
    curves = filled(("a", 1.0), ("b", 4.0), ("a", 2.0))
    assert curves.read(Accelerator(cpu=True)) == {"a": 1.5, "b": 4.0}
    assert curves.read(Accelerator(cpu=True)) == {}
    curves.add("c", torch.tensor(6.0), number=torch.tensor(4.0), step=4, said=str)
    curves.add("c", torch.tensor(3.0), number=2, step=4, said=str)
    assert curves.read(Accelerator(cpu=True)) == {"c": 1.5}


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_the_first_that_is_no_number_is_named(broken):
    curves = filled(("a", 1.0), ("b", 1.0), ("a", broken), ("b", broken))
    with pytest.raises(NotFinite, match=r"Number 3 is not a number at step 3. Rest.$"):
        curves.check(lambda: "Rest.")


def test_what_was_checked_is_not_checked_again():
    curves = filled(("a", 1.0))
    curves.check(str)
    # What it would say of it may hold a whole batch.
    assert not curves.points
    curves.check(str)
    assert curves.read(Accelerator(cpu=True)) == {"a": 1.0}
    curves.add("a", torch.tensor(float("nan")), step=2, said="It".format)
    with pytest.raises(NotFinite, match="It is not a number at step 2"):
        curves.check(str)
