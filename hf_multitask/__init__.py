"""Multitask fine-tuning of BERT-like encoders on the Hugging Face stack."""

from transformers import AutoConfig, AutoModel

from .models.configuration_minbert import MinBertConfig
from .models.configuration_multitask import MultitaskConfig
from .models.modeling_minbert import MinBertModel
from .models.modeling_multitask import MultitaskModel, MultitaskOutput
from .models.objectives import Binary, Classification, CosineEmbedding, Prediction, Regression
from .tasks import CFIMDB, QQP, SICK, SST, STS, TASKS, Task

__version__ = "0.1.0"

__all__ = [
    "CFIMDB",
    "QQP",
    "SICK",
    "SST",
    "STS",
    "TASKS",
    "Binary",
    "Classification",
    "CosineEmbedding",
    "MinBertConfig",
    "MinBertModel",
    "MultitaskConfig",
    "MultitaskModel",
    "MultitaskOutput",
    "Prediction",
    "Regression",
    "Task",
]

AutoConfig.register("minbert", MinBertConfig)
AutoConfig.register("multitask", MultitaskConfig)
AutoModel.register(MinBertConfig, MinBertModel)
AutoModel.register(MultitaskConfig, MultitaskModel)
