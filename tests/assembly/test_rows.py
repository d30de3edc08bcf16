"""The rows that a recipe reads."""

import pytest

from hf_multitask.assembly.rows import load_rows
from hf_multitask.recipe import RecipeError, read_recipe
from hf_multitask.sections.parts import DataSection
from hf_multitask.sections.train import TrainRecipe
from hf_multitask.tasks import SICK, SST, STS

DEMO = {"class": "Demo", "size": 48}


def texts(rows):
    return list(zip(rows["first"], rows["second"], rows["label"], strict=True))


def test_a_task_trains_on_all_rows_of_what_it_joins():
    plain = load_rows([SST, STS], DataSection(DEMO), ["train", "dev"])
    joined = load_rows([SST, STS], DataSection(DEMO, join={"sts": ["sick"]}), ["train", "dev"])
    sick = load_rows([SICK], DataSection(DEMO), ["train", "dev", "test"])
    every = [row for split in ("train", "dev", "test") for row in texts(sick[split]["sick"])]
    assert texts(joined["train"]["sts"]) == texts(plain["train"]["sts"]) + every
    assert texts(joined["dev"]["sts"]) == texts(plain["dev"]["sts"])
    assert joined["train"]["sst"][:] == plain["train"]["sst"][:]


def test_what_is_joined_has_a_limit_of_its_own_and_the_whole_another():
    data = DataSection(DEMO, join={"sts": ["sick"]}, limit={"sick": 5})
    assert len(load_rows([STS], data, ["train"])["train"]["sts"]) == 48 + 5
    data = DataSection(DEMO, join={"sts": ["sick"]}, limit={"sick": 5, "sts": 7})
    assert len(load_rows([STS], data, ["train"])["train"]["sts"]) == 7


def test_rows_that_mean_something_else_are_not_joined():
    with pytest.raises(ValueError, match="rows of 'sst' are none of 'sts': their labels mean other things"):
        load_rows([STS], DataSection(DEMO, join={"sts": ["sst"]}), ["train"])


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["{sick: [sts]}"], "data.join: Unknown task 'sick'"),
        (["{sts: [sic]}"], "data.join: Unknown task 'sic'. Did you mean 'sick'?"),
        (["{sts: [qqp]}"], "data.join: 'qqp' is judged here, and would be learnt."),
        (["{sts: [sick]}", "--data.stream", "{sts: 9}"], "data.join: 'sts' is streamed."),
    ],
)
def test_mistakes_are_sentences(words, fault):
    with pytest.raises(RecipeError) as error:
        read_recipe(TrainRecipe, ["--tasks", "sst,qqp,sts", "--data.join", *words])
    assert fault in str(error.value)
