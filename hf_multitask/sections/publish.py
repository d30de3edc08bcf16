"""The recipe of publishing: which settings there are, and what each may be."""

from dataclasses import dataclass, field

__all__ = ["PublishRecipe"]


@dataclass
class PublishRecipe:
    """Put a model, an ensemble or one adapter on the Hub, with its code, its report and a card, in one commit.

    The token is that of `hf auth login` or of HF_TOKEN. The same folder again makes no new commit.

    Examples:
      python recipes/publish.py --model outputs/real --repo me/model
      python recipes/publish.py --model outputs/weighted --repo me/ensemble --private
      python recipes/publish.py --model outputs/real --repo me/model --onnx
      python recipes/publish.py --model outputs/pal/adapters/sst --repo me/sst-pal --base me/pal
    """

    model: str = field(metadata={"help": "The folder that train.py or ensemble.py left, or one of adapters/"})
    repo: str = field(metadata={"help": "user/name on the Hub"})
    base: str | None = field(default=None, metadata={"help": "The published model that an adapter belongs to"})
    revision: str | None = field(default=None, metadata={"help": "A branch to publish on; null: main"})
    private: bool | None = field(default=None, metadata={"help": "Hide a new repo from others; null: as the Hub does"})
    onnx: bool = field(
        default=False, metadata={"help": "Leave onnx/model.onnx in the folder first, and publish it too"}
    )
