import math

import pytest

from hf_multitask.given import Given, overlay

TREES = [
    {},
    {"a": 1, "b": {"c": [1, 2], "d": None}},
    {"schedule": {"class": "Annealed", "end": 0.3}},
    {"tasks": ["sst", {"name": "mood", "weight": 2.0}]},
]


def laid(below, above):
    faults = []
    return overlay(Given.of(below, "below"), Given.of(above, "above"), faults).plain(), faults


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-5", 2e-5),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-3", -3),
        ("007", 7),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("e5", "e5"),
    ],
)
def test_a_word_means_what_yaml_1_2_says(text, value):
    got = Given.word(text, "here").value
    assert got == value
    assert type(got) is type(value)


def test_nan_is_a_number():
    assert math.isnan(Given.word(".nan", "here").value)


@pytest.mark.parametrize("tree", TREES)
def test_wrapping_and_unwrapping_is_the_same(tree):
    assert Given.of(tree, "here").plain() == tree


@pytest.mark.parametrize("tree", TREES)
def test_nothing_changes_nothing_and_twice_is_once(tree):
    assert laid(tree, {}) == (tree, [])
    assert laid({}, tree) == (tree, [])
    assert laid(tree, tree) == (tree, [])


def test_mappings_are_changed_key_by_key_and_everything_else_is_replaced():
    assert laid({"a": {"b": 1, "c": [1, 2]}, "d": 4}, {"a": {"c": [3]}})[0] == {"a": {"b": 1, "c": [3]}, "d": 4}
    assert laid({"a": {"b": 1}}, {"a": None})[0] == {"a": None}


def test_an_empty_line_takes_nothing_back_that_somebody_wrote():
    said, empty, faults = {"a": {"b": 1}, "c": [2], "d": 3, "e": {}}, Given.word("", "here"), []
    nothing = Given(dict.fromkeys(said, empty), "here")
    assert overlay(Given.of(said, ""), nothing, faults).plain() == dict.fromkeys(said)
    assert not faults
    overlay(Given.of(said, "below"), nothing, faults)
    assert [fault[:24] for fault in faults] == ["a: Nothing stands here, ", "c: Nothing stands here, "]


def test_another_class_drops_the_options_of_the_old_one_and_the_same_keeps_them():
    annealed = {"class": "Annealed", "end": 0.3}
    assert laid({"s": annealed}, {"s": {"class": "Cycle"}})[0] == {"s": {"class": "Cycle"}}
    assert laid({"s": annealed}, {"s": {"class": "Annealed"}})[0] == {"s": annealed}
    assert laid({"s": annealed}, {"s": {"start": 1}})[0] == {"s": {**annealed, "start": 1}}


@pytest.mark.parametrize("key", ["mood", "1"])
def test_a_mapping_over_a_list_changes_the_item_it_names(key):
    below = {"tasks": ["sst", {"name": "mood", "weight": 2.0}]}
    assert laid(below, {"tasks": {key: {"pair": True}}}) == (
        {"tasks": ["sst", {"name": "mood", "weight": 2.0, "pair": True}]},
        [],
    )


def test_a_word_in_a_list_becomes_a_mapping_with_that_name():
    assert laid({"t": ["sst"]}, {"t": {"sst": {"weight": 2}}})[0] == {"t": [{"name": "sst", "weight": 2}]}
    assert laid({"t": "sst, qqp"}, {"t": {"qqp": {"weight": 2}}})[0] == {"t": ["sst", {"name": "qqp", "weight": 2}]}


def test_an_item_that_is_not_there_is_a_fault():
    _, faults = laid({"tasks": ["sst", "qqp"]}, {"tasks": {"qp": {"weight": 2}, "2": "sts"}})
    assert faults == [
        "tasks: Unknown item 'qp'. Did you mean 'qqp'? Choices: sst, qqp. (above)",
        "tasks: Unknown item '2'. Choices: sst, qqp. (above)",
    ]
