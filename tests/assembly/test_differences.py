"""What differs between two recipes is enough to make one of the other."""

import pytest

from hf_multitask.assembly.differences import differences
from hf_multitask.given import Given, nested, overlay

SMART = {"class": "Smart", "weight": 1.0, "steps": 1}
OLD = {
    "model": {"dropout": 0.1, "head": 0.3, "trunk": None},
    "schedule": {"class": "Annealed", "end": 0.5},
    "tasks": [{"name": "sst", "weight": 1}, {"name": "qqp", "weight": 2}],
    "regularizers": [SMART, {"class": "Bregman", "momentum": 0.9}],
}


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({}, []),
        ({"model": {"dropout": 0.3, "head": 0.1, "trunk": None}}, ["model.dropout", "model.head"]),
        ({"schedule": {"class": "RoundRobin"}}, ["schedule"]),
        (
            {"tasks": [{"name": "sst", "weight": 2}, {"name": "qqp", "weight": 1}]},
            ["tasks.sst.weight", "tasks.qqp.weight"],
        ),
        ({"regularizers": [SMART, {"class": "Bregman", "momentum": 0.99}]}, ["regularizers.1.momentum"]),
        ({"regularizers": [SMART | {"class": "Other"}, OLD["regularizers"][1]]}, ["regularizers.0"]),
        ({"regularizers": []}, ["regularizers"]),
    ],
)
def test_differences_are_what_a_recipe_would_say_to_become_the_other(changes, settings):
    new, faults = {**OLD, **changes}, []
    found = list(differences(OLD, new))
    assert [one.setting for one in found] == settings
    made = Given.of(OLD, "")
    for one in found:
        made = overlay(made, nested(one.setting, Given.of(one.new, "")), faults)
    assert (made.plain(), faults) == (new, [])
    assert [(one.new, one.old) for one in differences(new, OLD)] == [(one.old, one.new) for one in found]


def test_of_other_tasks_their_names_are_told_and_what_both_have():
    new = {"tasks": [{"name": "qqp", "weight": 3}]}
    assert list(differences({"tasks": OLD["tasks"]}, new)) == [
        ("tasks", ["sst", "qqp"], ["qqp"]),
        ("tasks.qqp.weight", 2, 3),
    ]


def test_one_file_spelled_in_two_ways_is_no_difference(tmp_path, monkeypatch):
    (tmp_path / "trunk").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not list(differences({"trunk": "trunk"}, {"trunk": str(tmp_path / "trunk")}))
