import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.metrics import confusion_matrix

from hf_multitask import Classification, PalConfig, Regression, Task
from hf_multitask.data.sampler import MultitaskSampler
from hf_multitask.evaluation.answers import Answers, save_answers
from hf_multitask.pages.mistakes import mistakes
from hf_multitask.pages.page import write_page
from hf_multitask.pages.points import Seen
from hf_multitask.pages.runs import Shown, beside_file, beside_page, disputed, judged, mapped, run_page, run_pictures
from hf_multitask.pages.showing import embeddings, shares, show
from hf_multitask.recipe import read_recipe
from hf_multitask.report import Report
from hf_multitask.schedules import build_schedule
from hf_multitask.sections.train import TrainRecipe


def test_mistakes_are_the_surest_first_with_the_text_of_their_row():
    task = Task("mood", Classification(["sad", "glad"])).describe()
    rows = Dataset.from_dict({"first": ["a", "b", "c", "d"]})
    said = Answers(np.array([[2.0, 0], [0, 1], [0, 3], [9, 0]]), np.array([0, 1, 1, 0]), np.array([1, 0, 0, 0]))
    found = mistakes(task, said, rows)
    assert [(one.row, one.text, one.said, one.label) for one in found] == [
        (2, "c", "glad", "sad"),
        (0, "a", "sad", "glad"),
        (1, "b", "glad", "sad"),
    ]
    assert found[0].sure == pytest.approx(1 / (1 + np.exp(-3)))
    assert [one.row for one in mistakes(task, said, rows, most=1)] == [2]


def test_numbers_that_are_far_off_are_mistakes_of_a_pair():
    task = Task("near", Regression(0, 5), pair=True, metric="pearson").describe()
    rows = Dataset.from_dict({"first": ["a", "b"], "second": ["c", "d"]})
    said = Answers(np.array([[1.0], [2.0]]), np.array([1.0, 2.0]), np.array([1.5, 5.0]))
    assert mistakes(task, said, rows)[0] == (1, "b / d", "2.00", "5.00", 3.0)


def shown(folder, values, labels, extra=()):
    """A run that answered two tasks of classes, and others."""
    tasks = {name: Task(name, Classification(["sad", "glad"])).describe() for name in ("mood", *extra)}
    said = Answers(np.eye(2)[values] * 3, np.array(values), np.array(labels))
    share = float((said.values == said.labels).mean())
    entry = {"split": "dev", "n": len(values), "metric": "accuracy", "scored": True, "labels": ["sad", "glad"]}
    entry["confusion"] = confusion_matrix(said.labels, said.values).tolist()
    entries = {name: {**entry, "accuracy": share if name == "mood" else 0.0} for name in tasks}
    Report(entries, 1.0, 1.0, 0).save(folder)
    save_answers(dict.fromkeys(tasks, said), folder)
    rows = Dataset.from_dict({"first": list("abcd")})
    return Shown(folder, tasks, dict.fromkeys(tasks, rows))


def section(page, title):
    """What stands under a headline: the cells of its table, row by row, without the head."""
    (body,) = re.findall(rf"<h2>{re.escape(title)}</h2>(.*?)</section>", page, flags=re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", body)
    return [re.findall(r"<td(?: [^>]*)?>(.*?)</td>", row) for row in rows][1:]


def test_where_only_one_of_two_is_right_is_shown_both_ways_and_the_score_is_of_the_same_tasks(tmp_path):
    one = shown(tmp_path / "one", [1, 0, 1, 1], [0, 1, 1, 1])
    other = shown(tmp_path / "other", [0, 0, 0, 0], [0, 1, 1, 1], extra=["more"])
    page = beside_page(one, other)
    told = [line[:3] for line in section(page, "Where other is wrong and one is right: mood")]
    assert told == [["c", "sad", "glad"], ["d", "sad", "glad"]]
    (line,) = section(page, "Where one is wrong and other is right: mood")
    assert line == ["a", "glad", "sad", f"{1 / (1 + np.exp(-3)):.3f}"]
    assert [line[:3] for line in section(page, "Results")] == [["mood", "0.500", "0.250"], ["score", "0.500", "0.250"]]


def test_both_columns_are_of_the_metric_that_the_gain_is_of(tmp_path):
    one = shown(tmp_path / "one", [1, 0, 1, 1], [0, 1, 1, 1])
    other = shown(tmp_path / "other", [0, 0, 0, 1], [0, 1, 1, 1])
    entry = other.report.tasks["mood"]
    del entry["accuracy"]
    entry |= {"metric": "f1", "f1": 0.5}
    for line in section(beside_page(one, other), "Results"):
        assert line[1:3] == ["0.500", "0.500"]
        assert line[3].startswith("+0.0000 ")
    for line in section(beside_page(other, one), "Results"):
        assert line[1:3] == ["0.500", "0.667"]
        assert line[3].startswith("-0.1667 ")


def test_runs_of_one_name_have_pages_of_their_own(tmp_path):
    names = ["pal", "methods/plain-0", "members/plain-0", "of <a> & b/plain-0"]
    runs = {name: shown(tmp_path / name, [1, 0, 1, 1], [0, 1, 1, 1]) for name in names}
    found = {}
    for _ in range(2):
        for one, other in permutations(names, 2):
            text = beside_page(runs[one], runs[other])
            path = write_page(text, tmp_path / one, beside_file(tmp_path / one, tmp_path / other))
            # Written again it has the same name.
            assert found.setdefault((one, other), path) == path
    assert len(set(found.values())) == len(found)
    assert [found["pal", other].name for other in names[1:3]] == ["beside-plain-0.html", "beside-members-plain-0.html"]
    assert found["methods/plain-0", "pal"].name == "beside-pal.html"
    assert found["methods/plain-0", "members/plain-0"].name == "beside-members-plain-0.html"


def test_the_folder_that_one_is_in_has_its_name(tmp_path, monkeypatch):
    one, other = (shown(tmp_path / name, [1, 0, 1, 1], [0, 1, 1, 1]) for name in ("one", "other"))
    monkeypatch.chdir(one.folder)
    here = replace(one, folder=Path("."))
    assert "<title>one</title>" in run_page(here)
    assert beside_page(other, here) == beside_page(other, one)
    assert beside_file(other.folder, here.folder) == "beside-one.html"


def test_disputes_begin_with_what_the_wrong_one_is_surest_of_or_furthest_off(tmp_path):
    one, other = (shown(tmp_path / name, [0, 0, 0, 0], [0, 0, 0, 1]) for name in ("one", "other"))
    scores = np.array([[0, 1.0], [0, 3.0], [0, 2.0], [0, 9.0]])
    other.answers["mood"] = Answers(scores, np.array([1, 1, 1, 1]), one.answers["mood"].labels)
    assert re.findall("<td>([a-d])</td>", disputed(one, other, "mood", one.rows["mood"])) == ["b", "c", "a"]
    assert re.findall("<td>([a-d])</td>", disputed(one, other, "mood", one.rows["mood"], most=1)) == ["b"]

    task = Task("near", Regression(0, 5), metric="pearson").describe()
    for run, values in ((one, [1.0, 1.0, 2.0, 5.0]), (other, [1.5, 4.0, 1.0, 0.0])):
        said = np.array(values)
        run.answers["near"] = Answers(said[:, None], said, np.ones(4))
        run.tasks["near"] = task
        run.report.tasks["near"] = {"metric": "pearson"}
    assert re.findall("<td>([a-d])</td>", disputed(one, other, "near", one.rows["mood"])) == ["b", "a"]
    assert re.findall("<td>([a-d])</td>", disputed(other, one, "near", one.rows["mood"])) == ["d", "c"]


def test_what_differs_is_told_by_its_path_though_the_values_stand_on_both_sides(tmp_path):
    one, other = (shown(tmp_path / name, [0, 0, 1, 1], [0, 1, 1, 1]) for name in ("one", "other"))
    for run, dropouts in ((one, (0.1, 0.3)), (other, (0.3, 0.1))):
        settings = "model: {{dropout: {}, pals: {{dropout: {}}}, trunk: null}}\noutput_dir: {}\ntraining: {{{}}}\n"
        rate = "learning_rate: 2.0e-5" if run is one else "learning_rate: 3.0e-5"
        (run.folder / "recipe.yaml").write_text(settings.format(*dropouts, run.folder, rate))
    assert section(beside_page(one, other), "What differs in the configuration") == [
        ["model.dropout", "0.1", "0.3"],
        ["model.pals.dropout", "0.3", "0.1"],
        ["training.learning_rate", "2e-05", "3e-05"],
    ]


def test_a_report_without_a_model_is_named(tmp_path):
    entry = {"split": "dev", "n": 2, "metric": "pearson", "scored": True, "pearson": 1.0}
    Report({"own": entry}, 1.0, 1.0, 0).save(tmp_path)
    with pytest.raises(ValueError, match="holds a report, and no model that it is about"):
        show(tmp_path)


def test_rows_that_are_gone_are_named_and_the_others_shown(model, tmp_path, caplog):
    task = {"split": "dev", "n": 16, "metric": "accuracy", "scored": True, "accuracy": 1.0}
    Report({"sst": task}, 1.0, 1.0, 0).save(tmp_path)
    own = "[{name: sst, data: {class: Files, train: nowhere/gone.csv, dev: nowhere/gone.csv}}, qqp, sts]"
    (tmp_path / "recipe.yaml").write_text(f"data: {{source: {{class: Demo, size: 16}}}}\ntasks: {own}\n")
    model.save_pretrained(tmp_path)
    with caplog.at_level("WARNING"):
        found = show(tmp_path)
    assert list(found.rows) == ["qqp", "sts"]
    (message,) = [record.getMessage() for record in caplog.records if record.name == show.__module__]
    assert message.startswith(f"The page of {tmp_path} leaves out the dev rows of sst, which cannot be read any more: ")
    assert "nowhere/gone.csv" in message
    assert "Put them back where its recipe.yaml has them" in message


def test_a_scatter_has_the_range_of_its_task(tmp_path):
    values = np.array([-1.0, 0.5])
    save_answers({"own": Answers(values[:, None], values, values)}, tmp_path)
    entry = {"split": "dev", "n": 2, "metric": "pearson", "scored": True, "pearson": 1.0}
    Report({"own": entry}, 1.0, 1.0, 0).save(tmp_path)
    task = Task("own", Regression(-1, 1), pair=True, metric="pearson")
    (figure,) = judged(Shown(tmp_path, {"own": task.describe()}), "own").values()
    assert figure.axes[0].get_xlabel() == "true value (-1 to 1)"


def test_each_picture_says_of_what_and_of_whom_it_is_and_a_log_without_curves_makes_none(tmp_path):
    run = shown(tmp_path / "mine-0", [0, 0, 1, 1], [0, 1, 1, 1])
    run.embeddings = {"mood": Seen(np.arange(4), np.random.default_rng(0).normal(size=(4, 3)))}
    (run.folder / "trainer_state.json").write_text('{"log_history": [{"step": 1, "loss": 2.0}]}')
    found = run_pictures(run)
    of = ["confusion", "reliability", "t-SNE", "PCA", "heights"]
    assert list(found) == [f"mood: {what}" for what in of]
    for figure in found.values():
        assert "mine-0, seed 0" in [text.get_text() for text in figure.axes[0].texts]
        assert figure.axes[0].get_title().startswith("mood on dev: ")
    assert [label.get_text() for label in found["mood: heights"].axes[0].get_zticklabels()] == ["sad", "glad"]
    (run.folder / "trainer_state.json").write_text('{"log_history": [{"step": 1, "loss_mood": 2.0}]}')
    assert set(run_pictures(run)) == {*found, "learning curves"}


def test_shares_of_a_run_of_another_machine_that_counted_steps():
    words = ["--training", "{tf32: true, max_steps: 5}", "--schedule", "{class: Annealed, steps_per_epoch: 2}"]
    found = shares(read_recipe(TrainRecipe, words), {"sst": 90, "qqp": 900, "sts": 9})
    assert [len(epochs) for epochs in found.values()] == [3, 3, 3]
    assert found["sts"][0] < found["sts"][1] < found["sts"][2]


LENGTHS = {name: np.random.default_rng(size).integers(3, 60, size) for name, size in (("sst", 90), ("qqp", 300))}
BATCHES = "per_device_train_batch_size: 5, gradient_accumulation_steps: 2"
"""With these a pass over sst takes 9 steps, and one over qqp 30."""


def dealt(schedule, *, seed, epochs, last):
    """The share of the steps of each epoch that the sampler deals a task."""
    sampler = MultitaskSampler(LENGTHS, build_schedule(schedule), batch_size=5, accumulation=2, seed=seed)
    sampler.epochs, sampler.last = epochs, last
    found = {name: [] for name in LENGTHS}
    for epoch in range(9):
        sampler.set_epoch(epoch)
        if steps := list(sampler)[::2]:
            for name, values in found.items():
                values.append(sum(name in [share.task for share in step] for step in steps) / len(steps))
    return found


@pytest.mark.parametrize(
    ("schedule", "training", "state", "expected"),
    [
        ("Sequential", "max_steps: 100", None, {"epochs": 3, "last": 100}),
        ("Sequential", "num_train_epochs: 0.2", None, {"epochs": 0.2, "last": 8}),
        ("Sequential", "num_train_epochs: 1.2", None, {"epochs": 2, "last": 47}),
        ("Sequential", "num_train_epochs: 3", {"max_steps": 117, "global_step": 45}, {"epochs": 3, "last": 45}),
        ("Annealed", "num_train_epochs: 1", None, {"epochs": 1, "last": 39}),
        ("Annealed", "num_train_epochs: 0.5, data_seed: 7", None, {"epochs": 0.5, "last": 20, "seed": 7}),
        ("Annealed", "max_steps: 25, data_seed: 0", None, {"epochs": 25 / 39, "last": 25, "seed": 0}),
    ],
)
def test_shares_are_of_the_steps_that_the_sampler_dealt(schedule, training, state, expected):
    words = ["--training", f"{{{training}, {BATCHES}}}", "--schedule.class", schedule, "--seed", "3"]
    sizes = {name: len(lengths) for name, lengths in LENGTHS.items()}
    found = shares(read_recipe(TrainRecipe, words), sizes, state)
    assert found == dealt({"class": schedule}, **{"seed": 3, **expected})


def test_shares_of_a_training_of_several_processes_are_those_of_its_recipe():
    words = ["--training", f"{{num_train_epochs: 2, {BATCHES}}}", "--schedule.class", "Sequential"]
    sizes, state = {"sst": 90, "qqp": 300}, {"max_steps": 40, "global_step": 40}
    found = shares(read_recipe(TrainRecipe, words), sizes, state)
    assert found == shares(read_recipe(TrainRecipe, words), sizes)
    assert [len(values) for values in found.values()] == [2, 2]


@pytest.mark.parametrize("adapters", [False, True])
def test_embeddings_are_what_the_head_reads_with_adapters_too(adapters, model, rows, tmp_path):
    if adapters:
        model.add_adapters(PalConfig(width=4, heads=2))
        for name, weight in model.named_parameters():
            if "pal" in name.lower():
                torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(tmp_path)
    found = embeddings(tmp_path, rows, most=9)
    assert {name: seen.vectors.shape for name, seen in found.items()} == {"sst": (9, 16)}
    numbers, vectors = found["sst"]
    scores = model.heads["sst"](torch.from_numpy(vectors))
    torch.testing.assert_close(scores, model.eval().predict("sst", rows["sst"].select(numbers)["first"][:]).scores)


def test_of_a_split_sorted_by_label_every_label_is_embedded(model, rows, tmp_path):
    model.save_pretrained(tmp_path)
    data = {"sst": rows["sst"].select(np.argsort(rows["sst"]["label"][:], kind="stable"))}
    (numbers, _) = embeddings(tmp_path, data, most=20)["sst"]
    assert numbers.tolist() == sorted(set(numbers.tolist()))
    assert set(data["sst"].select(numbers)["label"]) == set(range(5))
    assert embeddings(tmp_path, data, most=37)["sst"].rows.tolist() == list(range(37))


def test_the_pictures_of_embedded_rows_have_their_own_labels_and_predictions(tmp_path):
    run = shown(tmp_path / "mine-0", [0, 0, 0, 1], [0, 0, 0, 1])
    run.embeddings = {"mood": Seen(np.array([2, 3]), np.eye(2))}
    for figure in mapped(run, "mood", run.embeddings["mood"], seed=0).values():
        assert [len(points.get_offsets()) for points in figure.axes[0].collections] == [1, 1]
