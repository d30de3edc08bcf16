import json
import logging
from pathlib import Path

import datasets
import pandas as pd
import pytest

from hf_multitask.data.rows import SPLITS, DataError, Unreadable, load, load_all
from hf_multitask.data.sources import HUB, Course, Files, Hub, Published
from hf_multitask.tasks import CFIMDB, QQP, SST, STS, TASKS, Task

SINGLE = "\tid\tsentence\tsentiment\n"
SHIFTED = "0\t\tid\tsentence\n1\t0.0\tt1\t Good .\n2\t1.0\tt2\t Bad .\n"
PAIR = "\tid\tsentence1\tsentence2"
QUORA = f"{PAIR}\tis_duplicate\n"
SICK_HEADER = (
    "pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score\tentailment_AB\tentailment_BA\t"
    "sentence_A_original\tsentence_B_original\tsentence_A_dataset\tsentence_B_dataset\tSemEval_set\r\n"
)


def sick(name: str, score: str, part: str) -> str:
    return f"{name}\tA dog .\tA cat .\tNEUTRAL\t{score}\tx\tx\tx\tx\tFLICKR\tFLICKR\t{part}\r\n"


SICK = SICK_HEADER + sick("1", "4.5", "TRAIN") + sick("2", "1", "TRIAL") + sick("3", "5", "TEST")
COURSE = {
    "ids-sst-train.csv": f'{SINGLE}0\ta1\t It ""is"" fine .\t3\n1\ta2\t Awful .\t0\n',
    "ids-sst-dev.csv": f"{SINGLE}0\td1\t Fine .\t4\n",
    "ids-sst-test-student.csv": SHIFTED,
    "ids-cfimdb-train.csv": f"{SINGLE}0\tc1\t Long film .\t1\n",
    "ids-cfimdb-dev.csv": f'{SINGLE}0\tc2\t" "" Quoted "" .\n More ."\t0\n',
    "ids-cfimdb-test-student.csv": SHIFTED,
    "quora-train.csv": f'{QUORA}3187\tq1\t"""Is it """"the""""?"""\tWhich?\t0.0\n4000\tq2\tWhat?\tWhich?\t1.0\n',
    "quora-dev.csv": f"{QUORA}7\tq3\tWho?\tWho is it?\t1.0\n",
    "quora-test-student.csv": f"{PAIR}\n8\tq4\tWhen?\tHow?\n",
    "sts-train.csv": f"{PAIR}\tsimilarity\n5\ts1\tA dog runs.\tA dog walks.\t3.2\n",
    "sts-dev.csv": f"{PAIR}\tsimilarity\n6\ts2\tA cat.\tA dog.\t1\n",
    "sts-test-student.csv": f"{PAIR}\n7\ts3\tA cow.\tA dog.\n",
    "SICK.txt": SICK,
}


@pytest.fixture
def course(tmp_path):
    for name, text in COURSE.items():
        (tmp_path / name).write_bytes(text.encode())
    return tmp_path


def faults(task: Task, split: str, source) -> list[tuple[int | None, str]]:
    """(line, sentence) of everything that is wrong."""
    with pytest.raises(DataError) as caught:
        load(task, split, source)
    return [(fault.place.number, fault.text) for fault in caught.value.faults]


# What holds of every source


QUESTIONS = ['Say "yes", or\nno?', "Où ?", "a\tb, c"]
TABLE = pd.DataFrame({"name": list("xyz"), "question": QUESTIONS, "other": ["Say?", "Where?", "d"], "same": [1, 0, 1]})
COLUMNS = {"first": "question", "second": "other", "label": "same", "id": "name"}


def as_course(folder: Path, table: pd.DataFrame):
    named = {"name": "id", "question": "sentence1", "other": "sentence2", "same": "is_duplicate"}
    for ending in ("train", "dev", "test-student"):
        kept = table.drop(columns="same") if ending == "test-student" else table
        kept.rename(columns=named).to_csv(folder / f"quora-{ending}.csv", sep="\t")
    return Course(folder)


def as_files(ending: str):
    def write(folder: Path, table: pd.DataFrame):
        paths = {split: folder / f"my-{split}{ending}" for split in SPLITS}
        for split, path in paths.items():
            kept = table.drop(columns="same") if split == "test" else table
            if ending == ".jsonl":
                kept.to_json(path, orient="records", lines=True)
            elif ending == ".parquet":
                kept.to_parquet(path)
            else:
                kept.to_csv(path, sep="," if ending == ".csv" else "\t", index=False)
        return Files(**paths, columns=COLUMNS)

    return write


def as_hub(folder: Path, table: pd.DataFrame):
    for part in ("train", "validation", "test"):
        (folder / part).mkdir()
        kept = table.assign(same=-1) if part == "test" else table
        kept.to_parquet(folder / part / "0000.parquet")
    return Hub(str(folder), columns=COLUMNS, no_label=-1)


ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
WRITERS = {"Course": as_course, "Hub": as_hub, **{f"Files {ending}": as_files(ending) for ending in ENDINGS}}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path, monkeypatch):
    """Writes a table in one source's format and gives that source."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "data").mkdir()
    return lambda table: WRITERS[request.param](tmp_path / "data", table)


def test_every_source_gives_the_same_rows(written):
    source = written(TABLE)
    assert source.splits(QQP) == SPLITS
    for split in SPLITS:
        loaded = load(QQP, split, source).to_dict()
        expected = {ours: TABLE[theirs].tolist() for ours, theirs in COLUMNS.items()}
        if split == "test":
            del expected["label"]
        assert loaded == expected
        places = [row.place for row in source.rows(QQP, split)]
        assert len(set(places)) == 3
        assert all(place.file and place.number is not None for place in places)


def test_every_source_reports_and_drops_bad_rows(written, caplog):
    source = written(TABLE.assign(same=[1, 7, 0], other=["", "Where?", "d"]))
    assert [text for _, text in faults(QQP, "train", source)] == [
        "the second text is missing",
        "label 7 is not one of the ids 0 to 1 (different, duplicate)",
    ]
    with caplog.at_level(logging.WARNING):
        assert load(QQP, "train", source, on_bad_row="drop")["id"][:] == ["z"]
    assert "dropped 2 of 3 rows (no text: 1, wrong label: 1)" in caplog.text


def test_every_source_names_a_missing_column_and_those_there_are(written):
    source = written(TABLE.rename(columns={"other": "another"}))
    for split in SPLITS:
        with pytest.raises(DataError, match=r"no column '\w+' \(second\); the columns are .*'another'"):
            load(QQP, split, source, on_bad_row="drop")


def test_every_source_refuses_an_empty_table(written):
    source = written(TABLE[:0])
    with pytest.raises(DataError, match=r"no rows|no line of the file|cannot be loaded"):
        load(QQP, "train", source, on_bad_row="drop")


# The course's files


def test_the_course_loads_whole(course):
    source = Course(course)
    requests = [(task, split, source) for task in TASKS.values() for split in source.splits(task)]
    assert len(requests) == 15
    loaded = load_all(requests)
    assert loaded["sst", "train"][0] == {"id": "a1", "first": 'It ""is"" fine .', "label": 3}
    for task in ("sst", "cfimdb"):
        assert loaded[task, "test"].to_dict() == {"id": ["t1", "t2"], "first": ["Good .", "Bad ."]}
    assert loaded["cfimdb", "dev"][0] == {"id": "c2", "first": '" Quoted " .\n More .', "label": 0}
    assert loaded["qqp", "train"]["first"][:] == ['"Is it ""the""?"', "What?"]
    assert loaded["qqp", "train"]["label"][:] == [0, 1]
    assert loaded["qqp", "test"].column_names == ["id", "first", "second"]
    assert loaded["sts", "train"]["label"][0] == pytest.approx(3.2)
    assert [loaded["sick", split]["label"][0] for split in SPLITS] == [4.375, 0, 5]


FAULTS = {
    ("quora-train.csv", f"{QUORA}3\tq1\tWhat?\t\t0.0\n\n5\tq2\t\tWhat?\t\n"): [
        (2, "the second text is missing"),
        (4, "the first text is missing"),
        (4, "the label is missing"),
    ],
    ("sts-train.csv", f"{PAIR}\tsimilarity\n5\ts5\tA dog.\t3.2\n6\ts6\ta\tb\tc\td\n7\ts7\tA\tB\t-1\n"): [
        (2, "4 fields where the header has 5"),
        (3, "6 fields where the header has 5"),
        (4, "label -1 is outside 0 to 5"),
    ],
    ("ids-cfimdb-train.csv", f'{SINGLE}0\ta\t"two\nlines"\t1\n1\tb\t\t1\n\n2\tc\t"three\n\nlines"\t9\n'): [
        (4, "the text is missing"),
        (6, "label 9 is not one of the ids 0 to 1 (negative, positive)"),
    ],
    ("SICK.txt", SICK + sick("4", "5.4", "TRAIN") + sick("5", "?", "TRAIN") + sick("6", "5", "TRAINING")): [
        (5, "label 5.5 is outside 0 to 5"),
        (6, "label '?' is no number"),
        (7, "SemEval_set 'TRAINING' is none of TRAIN, TRIAL, TEST"),
    ],
    ("SICK.txt", SICK.replace("SemEval_set", "set")): [
        (None, "no column 'SemEval_set', which tells train, dev and test apart")
    ],
    ("SICK.txt", ""): [(None, "the file is empty")],
    ("quora-train.csv", "\n\n"): [(None, "the file is empty")],
    ("quora-train.csv", 'id\t"text\n'): [
        (1, "the header cannot be read: a quote opens on this line and does not close")
    ],
    ("quora-train.csv", QUORA): [(None, "there are no rows")],
}


@pytest.mark.parametrize(("name", "text"), FAULTS)
def test_faults_of_the_course_stand_on_the_lines_that_an_editor_shows(course, name, text):
    (course / name).write_bytes(text.encode())
    task = next(task for task in TASKS.values() if Course(course).file(task, "train").name == name)
    assert faults(task, "train", Course(course)) == FAULTS[name, text]


def test_the_message_names_task_split_file_and_line(course):
    (course / "ids-sst-dev.csv").write_text(f"{SINGLE}0\td1\t Fine .\t4\n1\td2\t Odd .\t7\n")
    with pytest.raises(DataError) as caught:
        load(SST, "dev", Course(course))
    assert str(caught.value) == (
        "1 fault in the data.\n"
        f"sst dev, {course / 'ids-sst-dev.csv'}:\n"
        "  line 3: label 7 is not one of the ids 0 to 4 (very negative, negative, neutral, positive, very positive)\n"
        'Mend these rows, or leave them out with on_bad_row="drop".'
    )


def test_bytes_that_are_not_utf8_are_named_with_their_line(course):
    path = course / "sts-dev.csv"
    path.write_bytes(path.read_bytes() + "7\ts4\tUn café\tA cup\t2.0\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"line 3: this is not UTF-8 .*; save the file as UTF-8"):
        load(STS, "dev", Course(course), on_bad_row="drop")


def test_a_missing_file_or_folder_says_so(course):
    (course / "ids-sst-train.csv").unlink()
    assert Course(course).splits(SST) == ("dev", "test")
    ((_, text),) = faults(SST, "train", Course(course))
    assert text.startswith("there is no such file; the folder holds SICK.txt, ids-cfimdb-dev.csv, ids-cfimdb-test")
    assert text.endswith(" and 4 more")
    assert Course(course / "nowhere").splits(SST) == ()
    assert faults(SST, "train", Course(course / "nowhere")) == [(None, f"there is no folder '{course / 'nowhere'}'")]


def test_the_course_knows_five_tasks(course):
    mood = Task("mood", SST.objective)
    assert Course(course).splits(mood) == ()
    ((_, text),) = faults(mood, "train", Course(course))
    assert text == "the course has no 'mood'; it has sst, cfimdb, qqp, sts, sick"


# Separated fields


# Files of one's own


def test_a_csv_file_may_have_tabs_and_a_byte_order_mark(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbffirst\tlabel\nyes, and no\tneutral\n")
    assert load(SST, "dev", Files(dev=tmp_path / "a.csv"))[0] == {"id": "2", "first": "yes, and no", "label": 2}


def test_a_test_file_may_be_labelled_and_a_train_file_must(tmp_path):
    (tmp_path / "a.csv").write_text("text,mood\nfine,4\n")
    source = Files(train=tmp_path / "a.csv", test=tmp_path / "a.csv", columns={"first": "text", "label": "mood"})
    assert load(SST, "test", source).column_names == ["id", "first", "label"]
    bare = Files(train=tmp_path / "a.csv", test=tmp_path / "a.csv", columns={"first": "text"})
    assert load(SST, "test", bare).column_names == ["id", "first"]
    assert faults(SST, "train", bare) == [(None, "no column 'label' (label); the columns are 'text', 'mood'")]
    ((_, text),) = faults(SST, "test", Files(test=tmp_path / "a.csv"))
    assert text == "no column 'first' (first); the columns are 'text', 'mood'; map them with columns={\"first\": ...}"


def test_broken_json_lines_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"first": "fine", "label": 4, "id": 1}, {"first": "bad", "label": "negative", "id": 2}]
    path.write_text("\n".join(['{"first": torn', json.dumps(rows[0]), "", "[1]", '"x"', json.dumps(rows[1])]))
    found = faults(SST, "dev", Files(dev=path))
    assert [line for line, _ in found] == [1, 4, 5]
    assert found[0][1].startswith("this is not JSON, Expecting value: column 11")
    assert found[1][1] == found[2][1] == "a line must be a JSON object"
    assert load(SST, "dev", Files(dev=path), on_bad_row="drop")["label"][:] == [4, 1]
    path.write_text("torn\n")
    assert faults(SST, "dev", Files(dev=path)) == [(None, "no line of the file is a JSON object")]


def test_a_file_that_is_not_what_its_ending_says(tmp_path):
    (tmp_path / "a.parquet").write_text("first,label\n")
    ((_, text),) = faults(SST, "dev", Files(dev=tmp_path / "a.parquet"))
    assert text.startswith("this is no Parquet file")
    ((_, text),) = faults(SST, "dev", Files(dev=tmp_path / "a.xlsx"))
    assert text == "Unknown ending '.xlsx'. Choices: .csv, .tsv, .jsonl, .parquet"
    for ending in ENDINGS:
        ((_, text),) = faults(SST, "dev", Files(dev=tmp_path / f"b{ending}"))
        assert text == "there is no such file; the folder holds a.parquet"


def test_files_name_the_split_they_lack_and_the_field_they_do_not_know(tmp_path):
    assert faults(SST, "train", Files(dev="a.csv", test="b.csv")) == [(None, "no train file is given, only dev, test")]
    (tmp_path / "a.csv").write_text("text,label\nfine,4\n")
    with pytest.raises(ValueError, match=r"Unknown field of columns 'frist'\. Did you mean 'first'\?"):
        load(SST, "dev", Files(dev=tmp_path / "a.csv", columns={"frist": "text"}))


# The Hub


PUBLISHED = {
    "sst": ({"text": "fine", "label": 4, "label_text": "very positive"}, 4),
    "qqp": ({"question1": "a", "question2": "b", "label": 1, "idx": 0}, 1),
    "sts": ({"sentence1": "a", "sentence2": "b", "label": 2.5, "idx": 0}, 2.5),
    "sick": ({"id": "1", "sentence_A": "a", "sentence_B": "b", "label": 1, "relatedness_score": 2.0}, 1.25),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_built_in_tasks_load_from_datasets_of_their_shape(name, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    row, label = PUBLISHED[name]
    for part in ("train", "validation", "test"):
        (tmp_path / "repo" / part).mkdir(parents=True)
        pd.DataFrame([row]).to_parquet(tmp_path / "repo" / part / "0000.parquet")
    real = datasets.load_dataset
    asked = []

    def local(repo, config, *, split, revision):
        asked.append((repo, config, revision))
        return real(str(tmp_path / "repo"), split=split)

    monkeypatch.setattr(datasets, "load_dataset", local)
    for split in Published().splits(TASKS[name]):
        assert load(TASKS[name], split, Published())["label"][:] == [label]
    assert asked == [(HUB[name].repo, HUB[name].config, HUB[name].revision)] * 3


def test_cfimdb_is_not_on_the_hub():
    assert Published().splits(CFIMDB) == ()
    ((_, text),) = faults(CFIMDB, "train", Published())
    assert text == "no dataset is known for 'cfimdb', only for sst, qqp, sts, sick; read it by Course or Files"


def test_labels_of_the_same_names_in_another_order_are_read_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    part = datasets.Dataset.from_dict({"first": ["good", "bad"], "label": [0, 1]})
    part = part.cast_column("label", datasets.ClassLabel(names=["positive", "negative"]))
    part.to_parquet(tmp_path / "train.parquet")
    assert load(CFIMDB, "train", Hub(str(tmp_path)))["label"][:] == [1, 0]


def test_classes_that_are_held_back_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    part = datasets.Dataset.from_dict({"first": ["good", "bad"], "label": [-1, -1]})
    part = part.cast_column("label", datasets.ClassLabel(names=["negative", "positive"]))
    part.to_parquet(tmp_path / "test.parquet")
    assert load(CFIMDB, "test", Hub(str(tmp_path))).column_names == ["id", "first"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConnectionError("Couldn't reach 'me/x' on the Hub"), "the Hub cannot be reached; connect, or read"),
        (datasets.exceptions.DatasetNotFoundError("Dataset 'me/x' .."), "the Hub has no dataset 'me/x' that you"),
        (ValueError("Unknown split\n 'validation'."), "cannot be loaded: Unknown split 'validation'"),
    ],
)
def test_whatever_the_hub_answers_is_one_sentence(error, sentence, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(Unreadable) as caught:
        next(Hub("me/x", "plain").rows(SST, "dev"))
    assert str(caught.value).startswith(f"me/x plain validation: {sentence}")
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)
