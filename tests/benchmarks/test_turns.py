import pytest
import torch

from hf_multitask.benchmarks import turns
from hf_multitask.benchmarks.table import markdown
from hf_multitask.benchmarks.turns import Contender, in_turns


def product(size, calls):
    one = torch.ones(size, size)

    def step(i):
        calls.append(size)
        return one @ one

    return step


def test_contenders_take_turns_and_are_compared():
    calls = []
    pair = [Contender("small", product(10, calls)), Contender("large", product(20, calls), goal=0.0, notes={"n": 20})]
    small, large = in_turns(pair, rounds=4)
    assert calls[-16::2] == calls[-15::2] == [10, 20, 20, 10, 10, 20, 20, 10]
    assert (small.ratio, small.low, small.high) == (1.0, 1.0, 1.0)
    assert large.low <= large.ratio <= large.high
    assert large.arithmetic == pytest.approx(8.0)
    assert (small.peak, large.peak) == (400, 1600)


def test_the_table_marks_what_is_above_its_goal():
    calls = []
    lines = in_turns([Contender("one", product(5, calls)), Contender("two", product(5, calls), goal=0.0)], rounds=2)
    assert "<= 0.00 (missed)" in markdown(lines)
    lines[1].goal = 1e9
    assert "missed" not in markdown(lines)


def test_no_rounds_begin_after_the_budget():
    calls = []
    assert in_turns([Contender("one", product(5, calls))], rounds=9, budget=0)[0].rounds == 3


def test_a_ratio_may_have_to_be_large():
    calls = []
    lines = in_turns([Contender("one", product(5, calls)), Contender("two", product(5, calls), at_least=1e9)], rounds=2)
    assert ">= 1000000000.00 (missed)" in markdown(lines)


def test_what_comes_before_and_after_a_step_is_neither_timed_nor_left_out(monkeypatch):
    calls = []
    monkeypatch.setattr(turns.time, "perf_counter", lambda: calls.append("clock") or len(calls))
    one = Contender("one", product(5, calls), before=lambda: calls.append("in"), after=lambda: calls.append("out"))
    turns.seconds(one, 0)
    assert calls == ["in", 5, "clock", 5, "clock", "out"]
    calls.clear()
    in_turns([one], rounds=1)
    untimed = [call for call in calls if call != "clock"]
    assert untimed == [*["in", 5, "out"] * 2, "in", 5, 5, "out"]
    one.settles = False
    calls.clear()
    turns.seconds(one, 0)
    assert calls == ["in", "clock", 5, "clock", "out"]


def test_what_is_compiled_is_timed_compiled():
    ran = []

    def backend(graph, examples):
        return lambda *given: ran.append(1) or graph(*given)

    one, square = torch.ones(5, 5), torch.compile(lambda x: x @ x, backend=backend)
    in_turns([Contender("one", lambda i: square(one))], rounds=2)
    assert len(ran) == 5  # For its memory, and two times two for its time; in plain steps for its products.
