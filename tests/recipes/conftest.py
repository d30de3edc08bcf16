"""A tiny recipe and a tiny course, for the recipes' tests."""

import commands
import pytest

TINY = commands.TINY + "compare: [bag_of_words]\n"
HEADERS = {
    "ids-sst": "\tid\tsentence\tsentiment\n",
    "quora": "\tid\tsentence1\tsentence2\tis_duplicate\n",
    "sts": "\tid\tsentence1\tsentence2\tsimilarity\n",
}


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
