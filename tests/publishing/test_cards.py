"""What the cards of published models say."""

from hub_server import card_faults
from huggingface_hub import ModelCard

from hf_multitask.hub import publish
from hf_multitask.recipe import yaml_text


def card_of(hub):
    return ModelCard(hub.files()["README.md"].decode())


def test_a_task_with_rows_of_its_own_names_no_dataset(hub, folder):
    tasks = [{"name": "sst", "data": {"class": "Files", "train": "mine.csv"}}, {"name": "sts", "data": None}]
    (folder / "recipe.yaml").write_text(yaml_text({"tasks": tasks, "data": {"source": {"class": "Course"}}}))
    publish(folder, "me/model")
    card = card_of(hub)
    assert card.data.datasets == ["nyu-mll/glue"]
    assert card.data.eval_results[0].dataset_name == "sst"


def test_an_ensemble_whose_task_had_rows_of_its_own_names_no_dataset_for_it(hub, folder):
    mine = {"class": "Files", "train": "mine.csv"}
    recipe = {"members": ["a", "b"], "data": {"source": {"class": "Demo"}}, "sources": {"sst": mine}}
    (folder / "recipe.yaml").write_text(yaml_text(recipe))
    publish(folder, "me/model")
    card = card_of(hub)
    assert card.data.datasets is None
    assert card.data.language is None
    assert card.data.eval_results[0].dataset_name == "sst"
    assert "- sst: rows of which nothing is recorded here" in card.text
    assert "- qqp, sts: made-up sentences of a small grammar" in card.text


def test_rows_that_joined_a_task_are_told_with_their_licence(hub, folder):
    data = {"source": {"class": "Course"}, "join": {"sts": ["sick"]}}
    (folder / "recipe.yaml").write_text(yaml_text({"data": data}))
    publish(folder, "me/model")
    card = card_of(hub)
    assert card.data.datasets == ["RobZamp/sick", "SetFit/sst5", "nyu-mll/glue"]
    assert "SICK: CC BY-NC-SA 3.0" in card.text


def test_the_card_tells_of_no_graph_and_no_recipe_that_is_not_there(hub, folder):
    (folder / "onnx").mkdir()
    publish(folder, "me/model")
    text = card_of(hub).text
    assert "ONNX" not in text
    assert "<code>recipes/train.py</code> does it again" in text
    (folder / "recipe.yaml").write_text(yaml_text({"members": ["me/one", "me/other"], "rule": "soup"}))
    publish(folder, "me/model")
    assert "<code>recipes/ensemble.py</code> does it again" in card_of(hub).text


def test_the_card_holds_what_the_report_says(hub, folder, report):
    publish(folder, "me/model")
    card = card_of(hub)
    card.validate()
    assert not card_faults(str(card))
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.metric_args) == ("accuracy", 0.5, {"ci95": [0.25, 0.75]})
    assert (result.dataset_type, result.dataset_name, result.dataset_split) == ("SetFit/sst5", "SST-5", "dev")
    assert card.data.datasets == ["SetFit/sst5", "nyu-mll/glue"]
    assert "| 0.500 | 0.250 to 0.750 |" in card.text
    assert "Stanford Sentiment Treebank" in card.text
    assert "class: Course" in card.text
    assert "![curve.png](curve.png)" in card.text
    assert "torch 2" in card.text
    assert card_faults(str(card).replace("SetFit/sst5", "not a name"))
