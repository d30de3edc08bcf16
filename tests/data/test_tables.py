import io
import random

import pandas as pd
import pytest

from hf_multitask.data.tables import records


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('2\t"y\t0', "a quote opens on this line and does not close"),
        ('2\t"y" z\t0', "a quote inside a quoted field is not doubled"),
        ("2\ty", "2 fields where the header has 3"),
        ('2\t"x\t0\n3\tx"\t0', "a quote opens on this line and closes only after the next column"),
    ],
)
def test_a_broken_line_costs_itself_alone(line, sentence):
    text = f"a\tb\tc\n1\tx\t0\n{line}\n" + "".join(f"{n}\tz\t1\n" for n in range(4, 50))
    found = list(records(iter(text.splitlines(keepends=True)), "\t"))
    assert found[2] == (3, sentence)
    assert [fields[0] for _, fields in found[-46:]] == [str(n) for n in range(4, 50)]


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_whatever_pandas_writes_comes_back(delimiter):
    draw = random.Random(0)
    alphabet = ["a", "é", '"', "'", " ", ",", "\n" if delimiter == "," else "\t", "\r\n" if delimiter == "," else "\\"]
    rows = [["".join(draw.choices(alphabet, k=draw.randrange(6))) or "x" for _ in range(3)] for _ in range(300)]
    text = pd.DataFrame(rows[1:], columns=rows[0]).to_csv(sep=delimiter, index=False)
    assert [fields for _, fields in records(io.StringIO(text, newline="\n"), delimiter)] == rows


def test_one_torn_line_never_costs_another():
    """Add a quote to, or take one from, a random line: every other line is still read."""
    draw = random.Random(1)
    texts = ["plain", 'with "quotes"', '"all"', "it's", "5'11\""]
    for _ in range(100):
        rows = [[f"{n}", draw.choice(texts), draw.choice(texts), "1"] for n in range(12)]
        lines = pd.DataFrame(rows).to_csv(sep="\t", index=False, header=False).splitlines(keepends=True)
        torn = draw.randrange(1, 12)
        line = lines[torn]
        at = draw.choice([i for i, letter in enumerate(line) if letter in '"\t'])
        lines[torn] = line[:at] + line[at + 1 :] if line[at] == '"' else line[: at + 1] + '"' + line[at + 1 :]
        found = dict(records(iter(lines), "\t"))
        assert all(found[n + 1] == row for n, row in enumerate(rows) if n != torn)
