"""A WordPiece vocabulary made of the texts at hand, for a trunk that starts from nothing."""

from collections.abc import Iterable

from tokenizers import Tokenizer, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import BertTokenizer

__all__ = ["train_tokenizer"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
START = "▁"


def train_tokenizer(texts: Iterable[str], *, size: int = 8000, max_length: int = 128) -> BertTokenizer:
    """An uncased BERT tokenizer of about `size` pieces, with every character of `texts`; the same in every process.

    >>> train_tokenizer(["Ann ran.", "Ann ran far."]).tokenize("Ann ran!")
    ['ann', 'ran', '[UNK]']
    """
    characters, pieces = learned(texts, size=size)
    base = [*SPECIAL, *characters, *(f"##{character}" for character in characters)]
    vocabulary = dict.fromkeys([*base, *pieces[: max(0, size - len(base))]])
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(vocabulary)}, model_max_length=max_length)


def learned(texts: Iterable[str], *, size: int) -> tuple[list[str], list[str]]:
    """The characters in alphabetical order, and pieces in the order in which they were merged."""
    # WordPieceTrainer numbers its ##characters as a hash map deals them, so ties fall differently in each process.
    # Byte-pair merges of words with a marked start are the same algorithm, and numbered in order.
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Metaspace(START, prepend_scheme="always")]
    )
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    characters = sorted(token for token, _ in tokens if len(token) == 1 and token != START)
    pieces = [token[1:] if token.startswith(START) else f"##{token}" for token, _ in tokens if token != START]
    return characters, pieces
