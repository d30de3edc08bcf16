"""What one pass of the trunk reads."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .packing import Packing

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """Sequences end to end, and for each task the sequences that are its rows: indices [n], or [n, 2] for pairs.

    >>> rows = {"sts": torch.tensor([1]), "sst": torch.tensor([0])}
    >>> batch = Batch.of(torch.tensor([7, 8, 9]), torch.tensor([1, 2]), 2, rows)
    >>> batch.readers(), batch.only(batch.rows["sts"]).input_ids
    (['sst', 'sts'], tensor([8, 9]))
    """

    input_ids: Tensor
    packing: Packing
    rows: dict[str, Tensor]
    token_type_ids: Tensor | None = None

    @classmethod
    def of(
        cls,
        input_ids: Tensor,
        lengths: Tensor,
        longest: int,
        rows: dict[str, Tensor],
        token_type_ids: Tensor | None = None,
    ) -> "Batch":
        """From what a collator gives."""
        packing = Packing.from_lengths(lengths, tokens=input_ids.shape[0], length=longest)
        return cls(input_ids, packing, rows, token_type_ids)

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
        segments = None if self.token_type_ids is None else self.token_type_ids[kept]
        return Batch.of(self.input_ids[kept], lengths, int(lengths.max()), {}, segments)

    def part(self, kept: dict[str, Tensor]) -> "Batch":
        """Some rows of each task alone, by their numbers."""
        rows = {name: self.rows[name][numbers] for name, numbers in kept.items()}
        sequences = torch.cat([found.flatten() for found in rows.values()]).unique()
        place = torch.zeros_like(self.packing.lengths).index_copy(
            0, sequences, torch.arange(len(sequences)).to(sequences)
        )
        return replace(self.only(sequences), rows={name: place[found] for name, found in rows.items()})
