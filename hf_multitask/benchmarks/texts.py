"""Rows of made-up words, as long as real ones: what is measured from raw text on."""

from collections.abc import Iterator
from itertools import islice, product
from string import ascii_lowercase

import numpy as np
from datasets import Dataset, Value
from transformers import BertTokenizer

from .workload import LENGTHS, LONGEST, TASKS, Workload

__all__ = ["text_rows", "tokenizer"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def words() -> Iterator[str]:
    """aaaa, aaab, aaac, .."""
    return ("".join(letters) for letters in product(ascii_lowercase, repeat=4))


def tokenizer(workload: Workload) -> BertTokenizer:
    """A tokenizer whose words are one token each, as many as the workload's vocabulary has places for."""
    pieces = [*SPECIAL, *islice(words(), workload.vocabulary - len(SPECIAL))]
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=LONGEST)


def text_rows(workload: Workload, task: str, count: int) -> Dataset:
    """Rows with the columns first, second (of pairs) and label, whose tokens are as many as real rows have.

    >>> text_rows(Workload(vocabulary=100), "sts", 2).column_names
    ['first', 'second', 'label']
    """
    draw = np.random.default_rng([workload.seed, len(task), count])
    vocabulary = np.array(list(islice(words(), workload.vocabulary - len(SPECIAL))))
    sizes = np.clip(draw.lognormal(*LENGTHS[task], count), 5, LONGEST).astype(int) - (3 if TASKS[task].pair else 2)
    texts = [draw.choice(vocabulary, size) for size in sizes]
    cuts = [max(1, size // 2) if TASKS[task].pair else size for size in sizes]
    columns = {"first": [" ".join(text[:cut]) for text, cut in zip(texts, cuts, strict=True)]}
    if TASKS[task].pair:
        columns["second"] = [" ".join(text[cut:]) for text, cut in zip(texts, cuts, strict=True)]
    rows = Dataset.from_dict({**columns, "label": draw.integers(0, 2, count)})
    return rows.cast_column("label", Value("float32")) if task == "sts" else rows
