"""Multitask fine-tuning of BERT-like encoders on the Hugging Face stack.

Importing the package makes its models known to AutoConfig, AutoModel and pipeline, and PALs to PEFT.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoModel
from transformers.pipelines import PIPELINE_REGISTRY

from .models.configuration_ensemble import EnsembleConfig
from .models.configuration_minbert import MinBertConfig
from .models.configuration_multitask import MultitaskConfig
from .models.modeling_ensemble import EnsembleModel
from .models.modeling_minbert import MinBertModel
from .models.modeling_multitask import MultitaskModel, MultitaskOutput
from .models.objectives import Binary, Brier, Classification, CosineEmbedding, Prediction, Regression
from .models.pipeline_multitask import MultitaskPipeline
from .tasks import CFIMDB, QQP, SICK, SST, STS, TASKS, Task
from .tuners.pal import PalConfig

if TYPE_CHECKING:
    from .arguments import MultitaskTrainingArguments
    from .data.rows import load
    from .evaluator import evaluate
    from .report import Report
    from .trainer import MultitaskTrainer

__version__ = "0.1.0"

__all__ = [
    "CFIMDB",
    "QQP",
    "SICK",
    "SST",
    "STS",
    "TASKS",
    "Binary",
    "Brier",
    "Classification",
    "CosineEmbedding",
    "EnsembleConfig",
    "EnsembleModel",
    "MinBertConfig",
    "MinBertModel",
    "MultitaskConfig",
    "MultitaskModel",
    "MultitaskOutput",
    "MultitaskPipeline",
    "MultitaskTrainer",
    "MultitaskTrainingArguments",
    "PalConfig",
    "Prediction",
    "Regression",
    "Report",
    "Task",
    "evaluate",
    "load",
]

AutoConfig.register("ensemble", EnsembleConfig)
AutoConfig.register("minbert", MinBertConfig)
AutoConfig.register("multitask", MultitaskConfig)
AutoModel.register(EnsembleConfig, EnsembleModel)
AutoModel.register(MinBertConfig, MinBertModel)
AutoModel.register(MultitaskConfig, MultitaskModel)
PIPELINE_REGISTRY.register_pipeline("multitask", pipeline_class=MultitaskPipeline, pt_model=AutoModel)

# Whoever only loads a model need not wait for what trains and judges one.
LATER = {
    "MultitaskTrainer": ".trainer",
    "MultitaskTrainingArguments": ".arguments",
    "Report": ".report",
    "evaluate": ".evaluator",
    "load": ".data.rows",
}


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return vars(import_module(LATER[name], __name__))[name]
