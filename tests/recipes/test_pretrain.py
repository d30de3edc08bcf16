"""The first-stage recipe from its command line to what it leaves, and what it says when something is wrong."""

import pytest
import torch
from commands import call, launch, load
from sentence_transformers import SentenceTransformer

from hf_multitask import MultitaskModel, Report
from hf_multitask.plots import can_plot

TINY = """
data: {source: {class: Demo, size: 64}}
model: {size: {num_hidden_layers: 1, hidden_size: 16, num_attention_heads: 2, intermediate_size: 32}}
training: {num_train_epochs: 1, per_device_train_batch_size: 20, disable_tqdm: true}
"""
TEXTS = ["The plot was dull.", "Did the cat chase the mouse?", "In the shop, a woman hands a man a book. " * 20]


PRETRAIN, TRAIN = load("pretrain"), load("train")


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    return ["--config", tmp_path / "tiny.yaml", "--output_dir", tmp_path / "out"]


def test_the_folder_is_a_trunk_a_sentence_transformer_and_a_report(tiny, tmp_path):
    code, out, err = call(PRETRAIN, *tiny, "--model.pooling", "cls")
    assert code == 0, err
    assert "before" in out
    folder = tmp_path / "out"
    report = Report.load(folder)
    assert set(report.values) == set(report.beside["before"]) == {"sts", "sst"}
    code, _, err = call(load("evaluate"), "--model", folder)
    assert code == 1
    assert "is a first stage and no model of tasks. Train one on it: --model.trunk" in err
    assert report.values != report.beside["before"]
    for when in ("before", "after"):
        assert set(report.about["geometry"][when]) == {"sts_uniformity", "sts_alignment"}
    assert (folder / "sst.png").exists() == can_plot()
    assert not list(folder.glob(".*"))

    vectors = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, convert_to_tensor=True)
    model = MultitaskModel.from_trunk(folder, {}, pooling="cls").eval()
    with torch.no_grad():
        batch = model.tokenizer(TEXTS, padding=True, truncation=True, max_length=128, return_tensors="pt")
        ours = model.trunk(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state[:, 0]
    torch.testing.assert_close(vectors, ours, atol=1e-5, rtol=0)

    words = ["--config", tmp_path / "small.yaml", "--model.trunk", folder, "--output_dir", tmp_path / "second"]
    (tmp_path / "small.yaml").write_text(TINY.partition("model:")[0] + "training: {max_steps: 2, disable_tqdm: true}\n")
    code, _, err = call(TRAIN, *words)
    assert code == 0, err
    code, _, err = call(PRETRAIN, *words[:-1], tmp_path / "third", "--model.trunk", tmp_path / "second")
    assert code == 0, err


@pytest.mark.parametrize("objective", ["ClassRanking", "Ranking"])
def test_every_objective_runs(objective, tiny, tmp_path):
    code, _, err = call(PRETRAIN, *tiny, "--objective.class", objective)
    assert code == 0, err
    assert Report.load(tmp_path / "out").about["objective"] == objective
    assert SentenceTransformer(str(tmp_path / "out"), device="cpu").encode("A film.").shape == (16,)


def test_a_text_file_and_an_adapter(tiny, tmp_path):
    (tmp_path / "text.txt").write_text("".join(f"Sentence {i} of the file.\n" for i in range(50)))
    words = ["--text_file", tmp_path / "text.txt", "--text.limit", 40, "--tuner", "{class: Pal, width: 12}"]
    code, _, err = call(PRETRAIN, *tiny, *words, "--model.freeze_trunk", "--probe", "null")
    assert code == 0, err
    assert (tmp_path / "out" / "adapters" / "pretraining" / "adapter_config.json").is_file()
    assert set(Report.load(tmp_path / "out").values) == {"sts"}


def test_resume_goes_on_and_a_second_run_needs_leave(tiny, tmp_path):
    assert call(PRETRAIN, *tiny)[0] == 0
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    report = Report.load(tmp_path / "out")
    code, _, err = call(PRETRAIN, *tiny)
    assert code == 1
    assert "--overwrite" in err
    # A checkpoint is whole where its files have the sizes that they were written with.
    for spent in (tmp_path / "out").glob("checkpoint-*/seconds.json"):
        spent.write_text("1000".ljust(spent.stat().st_size))
    for word, least in ((["--resume", "auto"], 1000), (["--overwrite"], 0)):
        assert call(PRETRAIN, *tiny, *word)[0] == 0
        assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
        assert Report.load(tmp_path / "out").tasks == report.tasks
        assert Report.load(tmp_path / "out").beside == report.beside
        assert least < Report.load(tmp_path / "out").seconds < least + 1000


def test_a_first_stage_of_something_else_is_not_gone_on_from_and_left_as_it_was(tiny, tmp_path):
    assert call(PRETRAIN, *tiny)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for words, said in [
        (
            ["--objective.class", "ClassRanking"],
            'objective was {"class": "SimCSE"}, and is {"class": "ClassRanking"} here.',
        ),
        (["--model.pooling", "cls"], "model.pooling was mean, and is cls here."),
        (["--model.trunk", tmp_path / "out"], "The run begins with"),
        # Its vocabulary is another.
        (["--data.source", "{class: Demo, size: 32, seed: 4}"], "see 0.model.embeddings.word_embeddings.weight."),
    ]:
        code, _, err = call(PRETRAIN, *tiny, *words, "--resume", "auto")
        assert code == 1
        assert said in err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_a_first_stage_that_goes_on_with_other_text_says_so(tiny, tmp_path, caplog):
    words = ["--text", "{class: TaskTexts, limit: 40}", "--model.trunk", tmp_path / "trunk"]
    assert call(PRETRAIN, *tiny[:-1], tmp_path / "trunk")[0] == 0
    assert call(PRETRAIN, *tiny, *words)[0] == 0
    code, _, err = call(PRETRAIN, *tiny, *words, "--text.limit", 60, "--resume", "auto")
    assert code == 0, err
    assert (
        'text was {"class": "TaskTexts", "limit": 40}, and is {"class": "TaskTexts", "limit": 60} here.' in caplog.text
    )
    # A folder may have another name by now; another one is another.
    (tmp_path / "trunk").rename(tmp_path / "moved")
    code, _, err = call(PRETRAIN, *tiny, *words, "--model.trunk", tmp_path / "moved", "--resume", "auto")
    assert code == 0, err
    (tmp_path / "trunk").mkdir()
    code, _, err = call(PRETRAIN, *tiny, *words, "--model.trunk", tmp_path / "trunk", "--resume", "auto")
    assert code == 1
    assert f"model.trunk was {tmp_path / 'moved'}, and is {tmp_path / 'trunk'} here. Begin a new run" in err


@pytest.fixture
def moods(tmp_path):
    """Write a task of one's own with as many sentences of each class as are asked for, and name it to the recipe."""

    def written(*counts):
        lines = [f"I feel {mood} {i},{mood}\n" for mood, count in enumerate(counts) for i in range(count)]
        path = tmp_path / "moods.csv"
        path.write_text("text,mood\n" + "".join(lines))
        source = f"{{class: Files, train: {path}, dev: {path}, columns: {{first: text, label: mood}}}}"
        task = f"{{name: mood, objective: {{class: Classification, labels: [sad, fair, glad]}}, data: {source}}}"
        objective = ["--objective", "{class: ClassRanking, task: mood}", "--similarity", "null", "--probe", "mood"]
        return ["--tasks", f"[{task}]", *objective]

    return written


def test_any_task_with_classes_will_do(tiny, moods, tmp_path):
    code, _, err = call(PRETRAIN, *tiny, *moods(9, 2, 12))
    assert code == 0, err
    assert set(Report.load(tmp_path / "out").values) == {"mood"}


@pytest.mark.parametrize(
    ("counts", "more", "parts"),
    [
        ((0, 8, 0), [], ["Task 'mood'", "two classes or more. Got 1 in 8 rows"]),
        ((8, 1, 8), [], ["Task 'mood'", "one alone of 1"]),
        ((8, 8, 8), ["--training.per_device_train_batch_size", 4], ["each of the 3 classes, 6 in all", "is 4"]),
    ],
)
def test_too_few_rows_are_named_before_training(counts, more, parts, tiny, moods, tmp_path):
    code, _, err = call(PRETRAIN, *tiny, *moods(*counts), *more)
    assert code == 1
    assert all(part in err for part in parts), err
    assert not (tmp_path / "out" / "report.json").exists()
    assert not list((tmp_path / "out").glob("checkpoint-*"))


@pytest.mark.parametrize(
    ("text", "more", "part"),
    [
        ("", [], "there are 0 sentences"),
        ("One.\nTwo.\n", [], "One batch needs 20 different rows. Got 2"),
        ("One.\nTwo.\n", ["--objective.length", 90], "No sentence has more than 90 characters; the longest has 4"),
        (None, [], "there is no such file"),
    ],
)
def test_too_little_text_is_named_before_training(text, more, part, tiny, tmp_path):
    if text is not None:
        (tmp_path / "text.txt").write_text(text)
    code, _, err = call(PRETRAIN, *tiny, "--text_file", tmp_path / "text.txt", *more)
    assert code == 1
    assert part in err
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "report.json").exists()


@pytest.mark.recipe
def test_two_processes_leave_one_report(tiny, tmp_path):
    assert launch("pretrain", *tiny, processes=2).count("| score") == 1
    assert Report.load(tmp_path / "out").tasks["sts"]["n"] == 8
