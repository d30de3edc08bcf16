"""Tiny models and rows that every test may use."""

import datasets
import pytest
import torch
from transformers import BertTokenizerFast

from hf_multitask import QQP, SST, STS, MinBertConfig, MultitaskConfig, MultitaskModel

# Sums depend on how many threads share them: runs that are compared bit for bit must have equally many.
torch.set_num_threads(1)

SENTENCE = "the a film is was not good bad fine dull cat dog sat ran on mat rug quite very how do i you cook rice"
WORDS = SENTENCE.split()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tokenizer():
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    return BertTokenizerFast(vocab=vocabulary, model_max_length=64)


@pytest.fixture
def small():
    """A minBERT of two narrow layers, without dropout."""
    return MinBertConfig(
        vocab_size=5 + len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


@pytest.fixture
def model(small, tokenizer):
    """The three core tasks on the small trunk."""
    tasks = {task.name: task.describe() for task in (SST, QQP, STS)}
    built = MultitaskModel(MultitaskConfig(trunk=small, tasks=tasks, dropout=0.0, max_length=32))
    built.tokenizer = tokenizer
    return built


def texts(count, *, seed):
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (count,), generator=draw).tolist()
    return [" ".join(WORDS[i] for i in torch.randint(len(WORDS), (n,), generator=draw)) for n in lengths]


@pytest.fixture(scope="session")
def rows():
    """Rows of the three core tasks, in sizes that nothing divides."""

    def table(count, seed, label, pair):
        columns = {"id": [str(i) for i in range(count)], "first": texts(count, seed=seed)}
        if pair:
            columns["second"] = texts(count, seed=seed + 100)
        return datasets.Dataset.from_dict({**columns, "label": [label(i) for i in range(count)]})

    return {
        "sst": table(37, 1, lambda i: i % 5, False),
        "qqp": table(53, 2, lambda i: i % 2, True),
        "sts": table(19, 3, lambda i: (i % 11) / 2, True).cast_column("label", datasets.Value("float32")),
    }
