"""Every recipe from its command line to what it leaves, and what it says when something is wrong."""

import json
import math
import os
import subprocess
import sys

import commands
import pytest
import torch
from commands import ROOT, call, load
from transformers import AutoModel, GPT2Config, GPT2Model

from hf_multitask import MultitaskModel, Report

TINY = commands.TINY + "compare: [bag_of_words]\n"
HEADERS = {
    "ids-sst": "\tid\tsentence\tsentiment\n",
    "quora": "\tid\tsentence1\tsentence2\tis_duplicate\n",
    "sts": "\tid\tsentence1\tsentence2\tsimilarity\n",
}


TRAIN, EVALUATE, ENSEMBLE, BENCHMARK = (load(name) for name in ("train", "evaluate", "ensemble", "benchmark"))


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    return ["--config", tmp_path / "tiny.yaml", "--output_dir", tmp_path / "out"]


@pytest.fixture
def course(tmp_path):
    """The course's files, a few rows each; the test files carry no labels."""
    folder = tmp_path / "course"
    folder.mkdir()
    for split in ("train", "dev"):
        sst = [f"{i}\ts{split}{i}\tA {w} film , {split} {i} .\t{i % 5}\n" for i, w in enumerate(["fine", "dull"] * 8)]
        (folder / f"ids-sst-{split}.csv").write_text(HEADERS["ids-sst"] + "".join(sst))
        for name, label in (("quora", lambda i: float(i % 2)), ("sts", lambda i: (i % 6) * 0.9)):
            rows = [f"{i}\tp{i}\tWhat is {split} {i} ?\tIs it {i} ?\t{label(i)}\n" for i in range(16)]
            (folder / f"{name}-{split}.csv").write_text(HEADERS[name] + "".join(rows))
    (folder / "ids-sst-test-student.csv").write_text("0\t\tid\tsentence\n1\t0.0\tt0\tA film .\n2\t1.0\tt1\tGood .\n")
    for name in ("quora", "sts"):
        (folder / f"{name}-test-student.csv").write_text("\tid\tsentence1\tsentence2\n4\tu4\tOne ?\tTwo ?\n")
    return folder


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
        TINY.replace("compare: [bag_of_words]", "")
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


def replace_line(path, number, text):
    lines = path.read_text().splitlines(keepends=True)
    lines[number] = text
    path.write_text("".join(lines))


def spoil_label(folder):
    replace_line(folder / "ids-sst-train.csv", 3, "2\tx\tA film .\t7\n")


def spoil_column(folder):
    replace_line(folder / "quora-dev.csv", 0, "\tid\tsentence1\tsentence\tis_duplicate\n")


def empty(folder):
    (folder / "sts-train.csv").write_text("")


def remove(folder):
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (spoil_label, ["sst train", "line 4", "label 7"]),
        (spoil_column, ["qqp dev", "sentence2"]),
        (empty, ["sts train", "empty"]),
        (remove, ["course"]),
        (lambda folder: [spoil_label(folder), empty(folder)], ["label 7", "empty", "2 faults"]),
    ],
)
def test_bad_data_is_named_and_leaves_nothing_that_looks_finished(spoil, parts, tiny, course, tmp_path):
    spoil(course)
    code, _, err = call(TRAIN, *tiny, "--data_dir", course)
    assert code == 1
    assert all(part in err for part in parts), err
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "report.json").exists()
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--tasks", "sst,qpq"], ["qpq", "Did you mean 'qqp'"]),
        (["--training.learning_rat", "1"], ["Did you mean 'learning_rate'"]),
        (["--schedule.class", "Aneal", "--tasks", "stt"], ["2 faults", "'Annealed'", "stt"]),
        (["--model.trunk", "/nowhere/at-all"], ["/nowhere/at-all", "no folder here"]),
        (["--tasks.sst.head.class", "Cosine"], ["Cosine"]),
        (["--data.source.class", "Published", "--tasks", "cfimdb"], ["cfimdb"]),
    ],
)
def test_bad_settings_are_named(words, parts, tiny, tmp_path):
    code, _, err = call(TRAIN, *tiny, *words)
    assert code == 1
    assert all(part in err for part in parts), err
    assert not (tmp_path / "out" / "report.json").exists()


def test_a_trunk_of_another_architecture_is_named(tiny, tmp_path):
    GPT2Model(GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path / "gpt")
    code, _, err = call(TRAIN, *tiny, "--model.trunk", tmp_path / "gpt")
    assert code == 1
    assert "holds a 'gpt2'" in err
    code, _, err = call(EVALUATE, "--model", tmp_path / "gpt")
    assert code == 1
    assert "gpt does not tell which rows it learnt. Say --data_dir or --data.source.class." in err
    (tmp_path / "batch.yaml").write_text("batch_size: 16")
    for words in (["--config", tmp_path / "batch.yaml"], ["--data.max_length", 64]):
        code, _, err = call(EVALUATE, "--model", tmp_path / "gpt", *words)
        assert code == 1
        assert "gpt does not tell which rows it learnt." in err
    code, _, err = call(EVALUATE, "--model", tmp_path / "gpt", "--data.source.class", "Demo")
    assert code == 1
    assert "not a multitask model" in err


def test_a_loss_that_is_no_number_ends_the_run(tiny, tmp_path, monkeypatch):
    forward = MultitaskModel.forward

    def spoiled(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        if output.losses:
            output.losses["sts"] = output.losses["sts"] * math.nan
        return output

    monkeypatch.setattr(MultitaskModel, "forward", spoiled)
    code, _, err = call(TRAIN, *tiny)
    assert code == 1
    assert "The loss of sts is not a number at step 1" in err
    assert not (tmp_path / "out" / "report.json").exists()


@pytest.mark.recipe
@pytest.mark.parametrize("processes", [1, 2])
def test_accelerate_launches_the_recipe(processes, tiny, tmp_path):
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.accelerate_cli",
        "launch",
        "--config_file",
        ROOT / "accelerate_config.yaml",
        "--num_processes",
        processes,
    ]
    command += [ROOT / "recipes" / "train.py", *tiny]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| score") == 1
    assert Report.load(tmp_path / "out").tasks["sst"]["n"] == 8


def test_a_launcher_is_told_the_sentence_too(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    code, _, err = call(TRAIN, *tiny, "--tasks", "stt")
    assert code == 1
    told = json.loads((tmp_path / "error.json").read_text())["message"]
    assert told["message"] == told["extraInfo"]["py_callstack"] == err.strip()


def test_train_with_regularizers_leaves_the_teacher_too(tiny, tmp_path):
    words = ["--regularizers", "[{class: Smart, weight: 1}, {class: Bregman, save_teacher: true}]"]
    code, _, err = call(TRAIN, *tiny, *words, "--halve_on_rising_loss", 2)
    assert code == 0, err
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert {"smart_sst", "smart_ratio", "smart_cosine", "bregman_sts"} <= set(history[0])
    for folder in (tmp_path / "out", tmp_path / "out" / "teacher"):
        assert AutoModel.from_pretrained(folder).predict("sst", ["Good."]).labels


def test_the_benchmark_prints_and_keeps_its_table(tmp_path):
    words = ["--layers", 1, "--width", 24, "--rows", 2, "--rounds", 2, "--profile", "--output_dir", tmp_path]
    code, out, err = call(BENCHMARK, *words)
    assert code == 0, err
    assert "| products backward" in out
    kept = json.loads((tmp_path / "benchmark.json").read_text())
    names = [line["name"] for line in kept["suites"]["pals"]]
    assert "PALs" in names
    assert all(f"| {name} " in out for name in names)
    assert (tmp_path / "benchmark.md").read_text().strip() in out
    code, _, err = call(BENCHMARK, "--width", 100, "--rounds", 0)
    assert code == 1
    assert "multiple of the 12 heads" in err
    assert "rounds must be 1 or more" in err


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


@pytest.mark.distributed
def test_two_processes_write_the_answers_of_one(tiny, course, tmp_path):
    code, _, err = call(TRAIN, *tiny, "--data_dir", course)
    assert code == 0, err
    for split in ("dev", "test"):
        words = ["--model", tmp_path / "out", "--data_dir", course, "--split", split, "--output_dir"]
        code, _, err = call(EVALUATE, *words, tmp_path / f"one-{split}")
        assert code == 0, err
        launch = ["-m", "accelerate.commands.launch", "--config_file", ROOT / "accelerate_config.yaml"]
        launch += ["--num_processes", 2, "--main_process_port", 0, ROOT / "recipes" / "evaluate.py"]
        command = map(str, [sys.executable, *launch, *words, tmp_path / f"two-{split}"])
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(list(command), env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        one, two = ({file.name: file for file in (tmp_path / f"{n}-{split}").iterdir()} for n in ("one", "two"))
        assert one.keys() == two.keys()
        answers = [name for name in one if name.endswith(".csv")]
        assert len(answers) == 3
        for name in answers:
            assert one[name].read_text() == two[name].read_text()
    reports = [Report.load(tmp_path / f"{n}-dev").tasks for n in ("one", "two")]
    assert reports[0] == reports[1]


def test_a_run_does_not_take_away_what_it_begins_with(tiny, tmp_path):
    assert call(TRAIN, *tiny)[0] == 0
    before = (tmp_path / "out" / "model.safetensors").stat().st_mtime
    code, _, err = call(TRAIN, *tiny, "--overwrite", "--model.trunk", tmp_path / "out")
    assert code == 1
    assert "lies in its own output_dir. Give another output_dir." in err
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime == before


def test_what_was_made_of_an_earlier_model_goes_when_a_run_goes_on(tiny, tmp_path):
    assert call(TRAIN, *tiny)[0] == 0
    (tmp_path / "out" / "onnx").mkdir()
    for name in ("onnx/model.onnx", "confusion.png", "report.html"):
        (tmp_path / "out" / name).write_text("old")
    code, _, err = call(TRAIN, *tiny, "--resume", "auto", "--training.num_train_epochs", "2")
    assert code == 0, err
    left = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert not left & {"onnx/model.onnx", "confusion.png", "report.html"}


def test_a_long_text_is_no_place(tiny):
    assert call(TRAIN, *tiny)[0] == 0
    labels = f"{{class: Classification, labels: [{'long ' * 80}, short]}}"
    rows = "{class: Files, train: nowhere.csv, dev: nowhere.csv}"
    tasks = f"[{{name: mood, objective: {labels}, data: {rows}}}]"
    code, _, err = call(TRAIN, *tiny, "--overwrite", "--tasks", tasks)
    assert code == 1
    assert "nowhere.csv" in err


def test_a_token_is_no_setting(tiny):
    code, _, err = call(TRAIN, *tiny, "--training.hub_token", "hf_secret")
    assert code == 1
    assert "Unknown field of MultitaskTrainingArguments 'hub_token'" in err
    assert "hf_secret" not in err
