"""The recipe of a training, from its command line to what it leaves, and what judges it afterwards."""

import json
import shutil

import pytest
import torch
from commands import TINY, call, load
from transformers import AutoModel

from hf_multitask import MultitaskModel, Report

TRAIN, EVALUATE, ENSEMBLE = load("train"), load("evaluate"), load("ensemble")


def test_train_then_evaluate_then_submit(tiny, course, tmp_path):
    code, out, err = call(TRAIN, *tiny, "--data_dir", course)
    assert code == 0, err
    assert "| sst" in out
    report = Report.load(tmp_path / "out")
    assert set(report.tasks) == {"sst", "qqp", "sts"}
    assert set(report.beside) == {"bag of words", "chance"}
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["score"] == pytest.approx(report.score)
    assert not list((tmp_path / "out").glob(".*"))

    model = AutoModel.from_pretrained(tmp_path / "out")
    assert isinstance(model, MultitaskModel)
    assert len(model.predict("qqp", ["One ?"], ["Two ?"]).labels) == 1

    judging = ["--model", tmp_path / "out", "--data_dir", course, "--output_dir", tmp_path / "judged"]
    code, out, err = call(EVALUATE, *judging)
    assert code == 0, err
    again = Report.load(tmp_path / "judged")
    for name, entry in report.tasks.items():
        assert again.tasks[name][entry["metric"]] == pytest.approx(entry[entry["metric"]])
    assert {f.name for f in (tmp_path / "judged").glob("*.csv")} == {
        f"{n}-dev-output.csv" for n in ("sst", "para", "sts")
    }

    code, _, err = call(EVALUATE, *judging, "--data.limit", "{stt: 5}", "--data.join", "{sts: [sikc]}")
    assert code == 1
    assert all(f"{fault} Did you mean" in err for fault in ("Unknown task 'stt'.", "Unknown task 'sikc'."))

    code, out, err = call(EVALUATE, *judging, "--split", "test")
    assert code == 0, err
    lines = (tmp_path / "judged" / "sst-test-output.csv").read_text().splitlines()
    assert lines[0].split() == ["id", "Predicted_Sentiment"]
    assert [line.split(" , ")[0] for line in lines[1:]] == ["t0", "t1"]
    for name in ("para", "sts"):
        assert len((tmp_path / "judged" / f"{name}-test-output.csv").read_text().splitlines()) == 2
    # What was said of the dev split is not of these answers.
    assert not list((tmp_path / "judged").glob("report.*"))


def test_a_task_of_ones_own_from_yaml(tmp_path):
    (tmp_path / "mood.csv").write_text(
        "text,mood\n" + "".join(f"I am {w} {i},{w}\n" for i in range(8) for w in ("sad", "glad"))
    )
    (tmp_path / "mine.yaml").write_text(
        TINY
        + """
tasks:
  - name: mood
    objective: {class: Classification, labels: [sad, glad]}
    data: {class: Files, train: FOLDER/mood.csv, dev: FOLDER/mood.csv, columns: {first: text, label: mood}}
  - {name: sts, head: {class: Cosine}}
""".replace("FOLDER", str(tmp_path))
    )
    code, _, err = call(TRAIN, "--config", tmp_path / "mine.yaml", "--output_dir", tmp_path / "out")
    assert code == 0, err
    assert set(Report.load(tmp_path / "out").tasks) == {"mood", "sts"}
    assert AutoModel.from_pretrained(tmp_path / "out").predict("mood", ["I am glad"]).labels[0] in ("sad", "glad")
    # Where its rows are its folder says, and that of an ensemble.
    code, _, err = call(ENSEMBLE, "--members", tmp_path / "out", "--output_dir", tmp_path / "both", "--cache", "null")
    assert code == 0, err
    for name in ("out", "both"):
        code, _, err = call(EVALUATE, "--model", tmp_path / name, "--output_dir", tmp_path / "judged")
        assert code == 0, err
        assert Report.load(tmp_path / "judged").values == pytest.approx(Report.load(tmp_path / "out").values)
    code, _, err = call(EVALUATE, "--model", tmp_path / "out", "--data.source.class", "Published", "--tasks", "mood")
    assert code == 1
    assert "mood" in err
    code, _, err = call(EVALUATE, "--model", tmp_path / "out", "--output_dir", tmp_path / "out")
    assert code == 1
    assert "out holds a model, with a report of its own. Give another output_dir." in err


def test_another_trunk_and_a_frozen_one(tiny, tmp_path):
    assert call(TRAIN, *tiny)[0] == 0
    words = [*tiny[:2], "--output_dir", tmp_path / "second", "--model.trunk", tmp_path / "out", "--model.freeze_trunk"]
    code, _, err = call(TRAIN, *words, "--tasks", "sst")
    assert code == 0, err
    first, second = (AutoModel.from_pretrained(tmp_path / name) for name in ("out", "second"))
    for one, other in zip(first.trunk.parameters(), second.trunk.parameters(), strict=True):
        assert torch.equal(one, other)


def test_another_trunk_of_the_same_shape_is_not_gone_on_from(tiny, tmp_path):
    assert call(TRAIN, *tiny)[0] == 0
    shutil.copytree(tmp_path / "out", tmp_path / "other")
    words = [*tiny[:2], "--output_dir", tmp_path / "second", "--model.trunk"]
    assert call(TRAIN, *words, tmp_path / "out")[0] == 0
    code, _, err = call(TRAIN, *words, tmp_path / "other", "--resume", "auto")
    assert code == 1
    assert f"model.trunk was {tmp_path / 'out'}, and is {tmp_path / 'other'} here." in err
    assert Report.load(tmp_path / "second").trunk == str(tmp_path / "out")


@pytest.mark.parametrize("tuner", ["{class: Pal, width: 12}", "{class: LoraConfig, r: 2}"])
def test_an_adapter_for_every_task(tuner, tiny, course, tmp_path):
    words = [*tiny, "--data_dir", course, "--tuner", tuner, "--model.freeze_trunk"]
    code, _, err = call(TRAIN, *words)
    assert code == 0, err
    out = tmp_path / "out"
    assert {path.name for path in (out / "adapters").iterdir()} == {"sst", "qqp", "sts"}
    code, _, err = call(EVALUATE, "--model", out, "--data_dir", course, "--output_dir", tmp_path / "judged")
    assert code == 0, err
    before, after = (Report.load(folder).values for folder in (out, tmp_path / "judged"))
    assert after == before
    (last,) = out.glob("checkpoint-*")
    code, _, err = call(TRAIN, *words, "--resume", "auto")
    assert code == 0, err
    assert Report.load(out).values == before
    assert last.is_dir()


def test_gradients_are_joined_by_an_aggregator(tiny, tmp_path):
    words = ["--aggregator.class", "PCGrad", "--training.logging_steps", "1"]
    code, _, err = call(TRAIN, *tiny, *words)
    assert code == 0, err
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert all(0 <= entry["conflicts"] <= 1 for entry in history if "loss" in entry)
    assert {key for key in history[0] if key.startswith("cosine")} == {
        "cosine_sst_qqp",
        "cosine_sst_sts",
        "cosine_qqp_sts",
    }


def test_resume_goes_on_and_a_second_run_needs_leave(tiny, tmp_path):
    assert call(TRAIN, *tiny)[0] == 0
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    code, _, err = call(TRAIN, *tiny)
    assert code == 1
    assert "--overwrite" in err
    assert call(TRAIN, *tiny, "--resume", "auto")[0] == 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    assert call(TRAIN, *tiny, "--overwrite")[0] == 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    code, _, err = call(TRAIN, *tiny, "--resume", tmp_path / "nowhere")
    assert code == 1
    assert "nowhere is not there" in err


def test_what_a_run_took_is_counted_through_a_resume(tiny, tmp_path):
    assert call(TRAIN, *tiny)[0] == 0
    (spent,) = (tmp_path / "out").glob("checkpoint-*/seconds.json")
    seconds = float(spent.read_text())
    assert 0 < seconds < Report.load(tmp_path / "out").seconds < 1000
    # A checkpoint is whole where its files have the sizes that they were written with.
    spent.write_text("1000".ljust(spent.stat().st_size))
    assert call(TRAIN, *tiny, "--resume", "auto", "--training.num_train_epochs", "2")[0] == 0
    assert 1000 < Report.load(tmp_path / "out").seconds < 2000
    later = [float(spent.read_text()) for spent in (tmp_path / "out").glob("checkpoint-*/seconds.json")]
    assert 1000 < max(later) < Report.load(tmp_path / "out").seconds


def test_train_with_regularizers_leaves_the_teacher_too(tiny, tmp_path):
    words = ["--regularizers", "[{class: Smart, weight: 1}, {class: Bregman, save_teacher: true}]"]
    code, _, err = call(TRAIN, *tiny, *words, "--halve_on_rising_loss", 2)
    assert code == 0, err
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert {"smart_sst", "smart_ratio", "smart_cosine", "bregman_sts"} <= set(history[0])
    for folder in (tmp_path / "out", tmp_path / "out" / "teacher"):
        assert AutoModel.from_pretrained(folder).predict("sst", ["Good."]).labels


def test_training_rows_may_come_as_a_stream(tiny, course, tmp_path):
    code, _, err = call(TRAIN, *tiny, "--data_dir", course)
    assert code == 0, err
    words = ["--data_dir", course, "--model.trunk", tmp_path / "out", "--output_dir", tmp_path / "streamed"]
    words += ["--data.stream", "{qqp: 16, sts: 12}", "--training.disable_tqdm", "true", "--compare", "[]"]
    code, _, err = call(TRAIN, *words, "--overwrite", "false")
    assert code == 0, err
    assert set(Report.load(tmp_path / "streamed").tasks) == {"sst", "qqp", "sts"}
    code, _, err = call(TRAIN, *words, "--overwrite", "--data.stream.qqp", 17)
    assert code == 1
    assert "The stream ended after 16 rows, and a pass was said to have 17" in err


def test_what_was_made_of_an_earlier_model_goes_when_a_run_goes_on(tiny, tmp_path):
    assert call(TRAIN, *tiny)[0] == 0
    (tmp_path / "out" / "onnx").mkdir()
    for name in ("onnx/model.onnx", "confusion.png", "report.html"):
        (tmp_path / "out" / name).write_text("old")
    code, _, err = call(TRAIN, *tiny, "--resume", "auto", "--training.num_train_epochs", "2")
    assert code == 0, err
    left = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert not left & {"onnx/model.onnx", "confusion.png", "report.html"}
