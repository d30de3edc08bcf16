"""The recipe of a benchmark: what is measured, and on which shape."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from ..schema import RecipeError

__all__ = ["BenchmarkRecipe"]

Suite = Literal[
    "compiled", "data", "everything", "floor", "gradients", "growth", "pals", "prediction", "regularizers", "training"
]


@dataclass
class BenchmarkRecipe:
    """Measure what things cost: each line of the table is a ratio, timed in turns on the same batches.

    Examples:
      python recipes/benchmark.py --suites pals
      python recipes/benchmark.py --suites pals --layers 12 --width 768 --bf16 --rounds 10
    """

    output_dir: str = field(default="outputs/benchmark", metadata={"help": "Folder of benchmark.json and benchmark.md"})
    suites: list[Suite] = field(
        default_factory=lambda: ["pals"], metadata={"help": f"What to measure: {', '.join(get_args(Suite))}"}
    )
    layers: int = field(default=6, metadata={"help": "Layers of the trunk"})
    width: int = field(default=384, metadata={"help": "Width of the trunk"})
    rows: int = field(default=32, metadata={"help": "Rows of each of the three tasks in a step"})
    bf16: bool = field(default=False, metadata={"help": "Compute in bfloat16 where autocast allows"})
    rounds: int = field(default=15, metadata={"help": "How often each contender is timed, at most"})
    budget: float = field(default=150, metadata={"help": "Seconds of a suite, after which no more rounds begin"})
    profile: bool = field(default=False, metadata={"help": "Show where a step's time goes, before the suites"})
    seed: int = field(default=0, metadata={"help": "Decides weights and batches"})

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be 1 or more. Got {getattr(self, name)}."
            for name in ("layers", "width", "rows", "rounds")
            if getattr(self, name) < 1
        ]
        if self.width % 12:
            faults.append(f"width must be a multiple of the 12 heads. Got {self.width}.")
        if faults:
            raise RecipeError(faults)
