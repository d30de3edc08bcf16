"""What PALs cost, beside LoRA of the same size."""

from peft import LoraConfig

from ..models.modeling_multitask import MultitaskModel
from ..tuners.pal import PalConfig
from .turns import Contender
from .workload import Workload

__all__ = ["contenders"]

LINEAR = ["query", "key", "value", "dense"]


def contenders(workload: Workload) -> list[Contender]:
    """Training steps with everything trained and with the trunk frozen."""
    pal = PalConfig(width=204)
    size = added(workload, pal)
    lora = LoraConfig(r=rank_of_size(workload, size), target_modules=LINEAR)
    models = {
        "no adapters": (workload.model(), None),
        "PALs": (tuned(workload, pal), 1.25),
        "PALs, trunk frozen": (tuned(workload, pal, freeze_trunk=True), 0.75),
        f"LoRA of rank {lora.r}, trunk frozen": (tuned(workload, lora, freeze_trunk=True), None),
        "heads alone, trunk frozen": (workload.model(freeze_trunk=True), None),
    }
    counts = {
        "PALs": f"{size:,}, as in Bert-n-Pals: {bert_n_pals(workload):,}",
        f"LoRA of rank {lora.r}, trunk frozen": f"{added(workload, lora):,}",
    }
    return [
        Contender(name, workload.training(model), goal=goal, notes={"parameters a task": counts.get(name, "")})
        for name, (model, goal) in models.items()
    ]


def tuned(workload: Workload, config: PalConfig | LoraConfig, **options: bool) -> MultitaskModel:
    model = workload.model(**options)
    model.add_adapters(config)
    return model


def added(workload: Workload, config: PalConfig | LoraConfig) -> int:
    """How many parameters one adapter has."""
    model = tuned(workload, config)
    return sum(weight.numel() for name, weight in model.trunk.named_parameters() if ".sst." in name)


def rank_of_size(workload: Workload, size: int) -> int:
    """The rank at which LoRA on every linear layer is nearest to a size."""
    one = added(workload, LoraConfig(r=1, target_modules=LINEAR))
    return round(size / one)


def bert_n_pals(workload: Workload, width: int = 204) -> int:
    """A task's parameters in the authors' code: V_E, V_D, and query, key and value in each layer, all with a bias."""
    ends = workload.width * width + width + width * workload.width + workload.width
    return ends + workload.layers * 3 * (width * width + width)
