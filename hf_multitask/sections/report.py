"""The recipe of a page: which settings there are, and what each may be."""

from dataclasses import dataclass, field

from ..schema import RecipeError

__all__ = ["ReportRecipe"]


@dataclass
class ReportRecipe:
    """Write report.html into the folder of a finished run or ensemble, or of two side by side.

    Examples:
      python recipes/report.py --folder outputs/demo
      python recipes/report.py --folder outputs/pal --beside outputs/plain
    """

    folder: str = field(metadata={"help": "A folder that train.py, ensemble.py or pretrain.py left"})
    beside: str | None = field(default=None, metadata={"help": "Another, to compare with: beside-NAME.html"})
    most: int = field(default=1000, metadata={"help": "Most texts of a task whose embeddings are drawn"})
    seed: int = field(default=0, metadata={"help": "Draws the texts that are shown, and decides the places of t-SNE"})

    def __post_init__(self) -> None:
        if self.most < 2:
            raise RecipeError([f"most must be 2 or more. Got {self.most}."])
