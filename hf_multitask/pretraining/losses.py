"""What sentence-transformers' ranking loss lacks: groups that are kept apart, and rows that are no negatives."""

from collections.abc import Iterable

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import all_gather, all_gather_with_grad, get_rank
from torch import Tensor
from torch.nn import functional as F

__all__ = ["ClassRankingLoss", "MaskedRankingLoss"]


class ClassRankingLoss(MultipleNegativesRankingLoss):
    """Cross-entropy of a K x K similarity towards its diagonal, for each group of two sentences a class.

    From *Jack of All Trades, Master of Some*, section 3.4: S = scale * A B^T, where the rows a_k and b_k of A and B are
    the normalised embeddings of two sentences of the class k. Its loss is the library's own on the pairs (a_k, b_k).
    Beside the diagonal stand other classes alone, so nothing in a group is a false negative; another group of the
    batch holds every class again, so groups never meet, and the batch's loss is their mean.
    """

    def __init__(self, model: SentenceTransformer, classes: int, *, scale: float = 20.0):
        super().__init__(model, scale=scale)
        self.classes = classes

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        # One column of sentences, as the sampler has ordered them: [groups, classes, 2, width].
        (features,) = sentence_features
        embeddings = self.model(features)["sentence_embedding"]
        groups = embeddings.view(-1, self.classes, 2, embeddings.shape[-1])
        losses = [self.compute_loss_from_embeddings([group[:, 0], group[:, 1]], labels) for group in groups]
        return torch.stack(losses).mean()


class MaskedRankingLoss(MultipleNegativesRankingLoss):
    """The library's loss on pairs (anchor, positive), in which pairs of equal `labels` are no negatives of each other.

    Where all labels differ it is the library's own.
    """

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        anchors, positives = embeddings
        rows = torch.arange(len(anchors), device=anchors.device)
        own, groups = rows, labels
        if self.gather_across_devices:
            own = rows + get_rank() * len(anchors)
            positives, groups = all_gather_with_grad(positives), all_gather(labels)
        masked = labels[:, None] == groups
        masked[rows, own] = False
        scores = self.scale * self.similarity_fct(anchors, positives)
        return F.cross_entropy(scores.masked_fill(masked, -torch.inf), own)
