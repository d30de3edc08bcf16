from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_multitask.assembly.answering import write_answers
from hf_multitask.evaluation.submission import write_submission


def read(path: Path) -> tuple[str, dict[str, str]]:
    header, *rows = path.read_text().splitlines()
    return header, dict(row.split(" , ") for row in rows)


@pytest.mark.parametrize(
    ("task", "name", "column"),
    [
        ("sst", "sst-test-output.csv", "Predicted_Sentiment"),
        ("cfimdb", "cfimdb-test-output.csv", "Predicted_Sentiment"),
        ("qqp", "para-test-output.csv", "Predicted_Is_Paraphrase"),
        ("sts", "sts-test-output.csv", "Predicted_Similarity"),
        ("sick", "sick-test-output.csv", "Predicted_Similarity"),
        ("mood", "mood-test-output.csv", "Predicted_Sentiment"),
    ],
)
def test_names_and_headers_are_those_of_the_course(tmp_path, task, name, column):
    path = write_submission(tmp_path / "out", task, "test", ["a"], [1])
    assert path == tmp_path / "out" / name
    assert path.read_text() == f"id \t {column}\na , 1\n"
    assert [file.name for file in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_labels_are_integers(tmp_path, kind):
    header, rows = read(write_submission(tmp_path, "sst", "dev", ["a", "b", "c"], kind([3, 0, 4])))
    assert header == "id \t Predicted_Sentiment"
    assert rows == {"a": "3", "b": "0", "c": "4"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_numbers_come_back_exactly(tmp_path, dtype):
    values = (5 * torch.rand(50, generator=torch.Generator().manual_seed(0))).to(dtype)
    values[0] = 3
    _, rows = read(write_submission(tmp_path, "sts", "dev", range(50), values))
    assert rows["0"] == "3.0"
    assert torch.equal(torch.tensor([float(value) for value in rows.values()], dtype=dtype), values)


def test_one_prediction_per_id(tmp_path):
    with pytest.raises(ValueError, match="Got 2 ids, 1 predictions"):
        write_submission(tmp_path, "sst", "test", ["a", "b"], [1])


def test_diverged_predictions_are_refused(tmp_path):
    with pytest.raises(ValueError, match="1 of 2 are not, the first for id b"):
        write_submission(tmp_path, "sts", "test", ["a", "b"], [1.0, float("nan")])
    assert not list(tmp_path.iterdir())


def test_two_tasks_of_one_file_are_refused(tmp_path):
    rows = dict.fromkeys(("qqp", "para"), Dataset.from_dict({"id": ["a"]}))
    with pytest.raises(ValueError, match=r"Two tasks would be written to para-test-output\.csv"):
        write_answers(tmp_path, "test", rows, dict.fromkeys(rows, np.ones(1)))
    assert not list(tmp_path.iterdir())
