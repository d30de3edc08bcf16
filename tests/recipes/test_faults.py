"""What the recipes say when something is wrong."""

import math

import pytest
from commands import call, load
from transformers import GPT2Config, GPT2Model

from hf_multitask import MultitaskModel

TRAIN, EVALUATE = load("train"), load("evaluate")


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


def test_a_run_does_not_take_away_what_it_begins_with(tiny, tmp_path):
    assert call(TRAIN, *tiny)[0] == 0
    before = (tmp_path / "out" / "model.safetensors").stat().st_mtime
    code, _, err = call(TRAIN, *tiny, "--overwrite", "--model.trunk", tmp_path / "out")
    assert code == 1
    assert "lies in its own output_dir. Give another output_dir." in err
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime == before


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--resume", "out/checkpoint-99"], "checkpoint-99 is not there"),
        (["--resume", "auto", "--tasks", "sst"], "Its tasks are qqp, sst, sts, and here they are sst"),
        (["--overwrite", "--data_dir", "nowhere"], "nowhere"),
        (["--overwrite", "--tasks", "sst,stt"], "stt"),
    ],
)
def test_what_fails_before_it_begins_leaves_an_earlier_model_as_it_was(words, fault, tiny, tmp_path):
    assert call(TRAIN, *tiny)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    code, _, err = call(TRAIN, *tiny, *words)
    assert code == 1
    assert fault in err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


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
