"""Batches of several tasks as the collator lays them out."""

import torch

from hf_multitask.models.encoding import encode, flatten

FIRST = ["the cat sat", "a film", "how do i cook rice", "good"]
SECOND = ["the dog ran on the mat", "a dull film", "rice", "bad"]


def step(model, names):
    """The texts above as rows of each task that is named."""
    parts, rows, count = [], {}, 0
    for name in names:
        apart = model.config.texts(name) == 2
        second = SECOND if model.config.tasks[name]["pair"] else None
        sides = [(FIRST, None), (second, None)] if apart else [(FIRST, second)]
        parts += [encode(model.tokenizer, *side, max_length=32) for side in sides]
        index = torch.arange(count, count + len(sides) * len(FIRST))
        rows[name] = index.view(2, -1).T if apart else index
        count += len(index)
    return {**flatten(*parts), "rows": rows}
