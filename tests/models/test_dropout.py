import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from hf_multitask.models.dropout import Draws, Dropout, drop, without_dropout


@pytest.mark.parametrize("dtype", [torch.float, torch.double, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
def test_a_share_p_is_zero_and_the_others_make_up_for_it(p, dtype):
    torch.manual_seed(0)
    left = drop(torch.ones(3, 100_001, dtype=dtype), p)
    assert left.dtype == dtype
    assert (left == 0).double().mean().item() == pytest.approx(p, abs=0.003)
    (grown,) = left[left != 0].unique().tolist()
    assert grown == pytest.approx(1 / (1 - p), rel=0.02)
    assert left.double().mean().item() == pytest.approx(1, abs=0.1 if p == 0.999 else 0.01)


def test_neighbours_and_calls_are_independent():
    torch.manual_seed(0)
    first, second = (drop(torch.ones(200_000), 0.5) - 1 for _ in range(2))
    for apart in (1, 2, 3, 4, 8):
        assert (first[:-apart] * first[apart:]).mean().item() == pytest.approx(0, abs=0.01)
    assert (first * second).mean().item() == pytest.approx(0, abs=0.01)


def test_gradients_go_where_numbers_went():
    x = torch.randn(50, dtype=torch.double, requires_grad=True)
    y = drop(x, 0.3)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient * x, y)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_nothing_and_everything(p):
    assert torch.equal(drop(torch.ones(7), p), torch.full((7,), 1.0 - p))


def test_evaluation_leaves_all_in():
    x = torch.randn(9)
    assert Dropout(0.5).eval()(x) is x


def test_the_same_seed_draws_the_same():
    torch.manual_seed(3)
    first = drop(torch.ones(99), 0.5)
    torch.manual_seed(3)
    assert torch.equal(drop(torch.ones(99), 0.5), first)


def test_kept_draws_come_again_in_their_order_and_new_ones_follow_undisturbed():
    draws, x = Draws(), torch.ones(1000)
    with draws.kept():
        first = [drop(x, 0.5), drop(x, 0.2)]
    then = torch.get_rng_state()
    after = drop(x, 0.5)
    torch.set_rng_state(then)
    for _ in range(2):
        with draws.again():
            assert all(torch.equal(drop(x, p), kept) for p, kept in zip((0.5, 0.2), first, strict=True))
    assert torch.equal(drop(x, 0.5), after)


def test_threads_that_ask_a_model_which_was_left_training_have_no_dropout():
    model, x = torch.nn.Sequential(Pause(), Dropout(0.5)).train(), torch.ones(100)

    def ask(_):
        with without_dropout(model):
            return model(x)

    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(found, x) for found in pool.map(ask, range(40)))
    assert model[1].training


class Pause(torch.nn.Module):
    """Lets other threads have their turn."""

    def forward(self, x):
        time.sleep(0.001)
        return x


def test_a_repeat_in_another_thread_draws_for_itself():
    from threading import Thread

    draws, x, seen = Draws(), torch.ones(1000), []
    with draws.kept():
        drop(x, 0.5)
        thread = Thread(target=lambda: seen.append(drop(x, 0.5)))
        thread.start()
        thread.join()
    assert len(draws.drawn) == len(seen) == 1
