"""What one pass of the trunk reads."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .packing import Packing

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """Sequences end to end, and for each task the sequences that are its rows: indices [n], or [n, 2] for pairs.

    >>> packing = Packing.from_lengths(torch.tensor([1, 2]), tokens=3, length=2)
    >>> batch = Batch(torch.tensor([7, 8, 9]), packing, {"sts": torch.tensor([1]), "sst": torch.tensor([0])})
    >>> batch.readers(), batch.only(batch.rows["sts"]).input_ids
    (['sst', 'sts'], tensor([8, 9]))
    """

    input_ids: Tensor
    packing: Packing
    rows: dict[str, Tensor]
    token_type_ids: Tensor | None = None

    def readers(self) -> list[str | None]:
        """The task that reads each sequence."""
        readers: list[str | None] = [None] * self.packing.rows
        for name, rows in self.rows.items():
            for row in rows.flatten().tolist():
                if readers[row] not in (None, name):
                    raise ValueError(
                        f"Tasks with adapters share no sequence. Got number {row} in '{readers[row]}' and '{name}'."
                    )
                readers[row] = name
        return readers

    def tokens_of(self, sequences: Tensor) -> Tensor:
        """Which tokens [tokens] belong to some sequences, as a mask."""
        chosen = torch.zeros(self.packing.rows, dtype=torch.bool, device=sequences.device).index_fill(
            0, sequences, True
        )
        return self.to_tokens(chosen)

    def to_tokens(self, values: Tensor) -> Tensor:
        """What each sequence has, for each of its tokens: [sequences] -> [tokens]."""
        return values.repeat_interleave(self.packing.lengths, output_size=self.input_ids.shape[0])

    def only(self, sequences: Tensor) -> "Batch":
        """Some sequences alone, in the order in which they stand here, and as yet no task's."""
        kept = self.tokens_of(sequences)
        lengths = self.packing.lengths[sequences.sort().values]
        input_ids = self.input_ids[kept]
        packing = Packing.from_lengths(lengths, tokens=input_ids.shape[0], length=int(lengths.max()))
        segments = self.token_type_ids
        return Batch(input_ids, packing, {}, None if segments is None else segments[kept])

    def part(self, kept: dict[str, Tensor]) -> "Batch":
        """Some rows of each task alone, by their numbers."""
        rows = {name: self.rows[name][numbers] for name, numbers in kept.items()}
        sequences = torch.cat([found.flatten() for found in rows.values()]).unique()
        place = torch.zeros_like(self.packing.lengths).index_copy(
            0, sequences, torch.arange(len(sequences)).to(sequences)
        )
        return replace(self.only(sequences), rows={name: place[found] for name, found in rows.items()})
