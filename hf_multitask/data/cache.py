"""Where token ids are kept, so that the same rows are encoded once."""

import hashlib
import json
import os
from pathlib import Path

import datasets
import tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..models.configuration_multitask import MultitaskConfig
from ..models.members import spelled

__all__ = ["cache_file"]

LEAST = 10_000
"""Rows below which encoding takes about as long as finding out whether it has been done."""
READ = ("first", "second", "label")


def cache_file(
    rows: datasets.Dataset, task: str, config: MultitaskConfig, tokenizer: PreTrainedTokenizerBase
) -> Path | None:
    """The file in datasets' own cache for the token ids of these rows; None where there is no use or no place.

    Its name is a digest of all that decides what is in it: the texts and labels, the tokenizer, the length at which
    sequences are cut, whether there is a second text and both are read together. `datasets.disable_caching()` turns
    it off.
    """
    fast = isinstance(tokenizer, PreTrainedTokenizerFast)
    if len(rows) < LEAST or not fast or not datasets.is_caching_enabled():
        return None
    read = [config.max_length, config.known(task)["pair"], config.texts(task)]
    way = [tokenizers.__version__, spelled(tokenizer), *read]
    found = hashlib.sha256(json.dumps(way).encode())
    columns = [name for name in READ if name in rows.column_names]
    for batch in rows.select_columns(columns).with_format("arrow").iter(LEAST):
        # As Arrow sends it: without what lies around a slice in memory.
        for part in batch.combine_chunks().to_batches():
            found.update(part.schema.remove_metadata().serialize())
            found.update(part.serialize())
    folder = Path(datasets.config.HF_DATASETS_CACHE, "hf_multitask")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    # datasets takes the name for a fingerprint, and wants one of 64 characters at most.
    return folder / f"{task[:30]}-{found.hexdigest()[:32]}.arrow" if os.access(folder, os.W_OK) else None
