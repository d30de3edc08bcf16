"""How near a step comes to its own matrix products, and a training to its own steps."""

from dataclasses import replace

from .products import bare
from .texts import text_rows
from .training import multitask_trainer, training
from .turns import Contender
from .workload import TASKS, Workload

__all__ = ["contenders"]

BATCHES = 4


def contenders(workload: Workload) -> list[Contender]:
    """A step over its products; float32 over bfloat16, of both; `MultitaskTrainer` over the steps that it makes."""
    own = replace(workload, batches=BATCHES)
    step = own.training(own.model())
    return [
        Contender("matrix products alone", bare(step, BATCHES)),
        Contender("step", step, goal=1.25),
        *precisions(own),
        *whole(own),
    ]


def precisions(workload: Workload) -> list[Contender]:
    """A step in float32 over one in bfloat16, and the same of its products alone, which say what there is to win."""
    kinds = [replace(workload, bf16=bf16) for bf16 in (True, False)]
    half, full = (kind.training(kind.model()) for kind in kinds)
    # A smaller trunk has less in its products to win.
    least = 2.0 if workload.width >= 768 else None
    return [
        Contender("step, bfloat16", half, "step, bfloat16"),
        Contender("step, float32", full, "step, bfloat16", at_least=least),
        Contender("products, bfloat16", bare(half, BATCHES), "products, bfloat16"),
        Contender("products, float32", bare(full, BATCHES), "products, bfloat16"),
    ]


def whole(workload: Workload) -> list[Contender]:
    """A training, and the same batches without sampler, collator, logging and Trainer."""
    rows = {name: text_rows(workload, name, workload.rows * workload.batches) for name in TASKS}
    trainer = multitask_trainer(workload, rows)
    batches = list(trainer.get_train_dataloader())
    step = workload.training(workload.model(), batches=batches)

    def steps(i: int) -> None:
        for k in range(len(batches)):
            step(k)

    name = f"{len(batches)} steps"
    return [
        Contender(name, steps, name),
        training(f"MultitaskTrainer, {name}", [trainer], name, goal=1.05),
    ]
