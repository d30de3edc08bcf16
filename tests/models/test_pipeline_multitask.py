import pytest
from batches import FIRST, SECOND
from transformers import pipeline


@pytest.fixture
def answer(model):
    return pipeline("multitask", model=model.eval())


def test_it_says_what_the_model_says(model, answer):
    pairs = [{"text": one, "text_pair": other} for one, other in zip(FIRST, SECOND, strict=True)]
    found = answer([*FIRST, *pairs])
    want = model.predict("sst", FIRST)
    assert [row["sst"]["label"] for row in found[: len(FIRST)]] == want.labels
    assert [row["sst"]["score"] for row in found[: len(FIRST)]] == want.probabilities.max(-1).values.tolist()
    values = model.predict("sts", FIRST, SECOND).values.tolist()
    assert [row["sts"]["value"] for row in found[len(FIRST) :]] == values
    assert all(set(row) == {"qqp", "sts"} for row in found[len(FIRST) :])
    assert answer(pairs[0], tasks=["qqp"]) == {"qqp": answer(pairs[0])["qqp"]}
    assert answer([]) == []


@pytest.mark.parametrize(
    ("inputs", "options", "complaint"),
    [
        (["a film", 3], {}, "An input is a text, or a pair"),
        ({"text": "a", "pair": "b"}, {}, "An input is a text, or a pair"),
        ("a film", {"tasks": ["qqp"]}, "Task 'qqp' reads pairs"),
        ("a film", {"tasks": ["ssst"]}, "Did you mean 'sst'"),
    ],
)
def test_mistakes_are_named(inputs, options, complaint, answer):
    with pytest.raises(ValueError, match=complaint):
        answer(inputs, **options)
