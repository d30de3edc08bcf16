"""How a launch divides a model among processes, and what it must be told or cannot do."""

import gc
import os

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, parse_flag_from_env

__all__ = ["backend_of", "check_launch", "leave", "prepare", "processes"]


def processes() -> PartialState:
    """The processes that were launched together, and this one's device."""
    # On a machine without an accelerator it sees the others only when it is told so.
    return PartialState(cpu=not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"))


def backend_of(accelerator: Accelerator) -> str:
    """How the weights and the optimizer lie on the processes: "whole", "ZeRO-2", "FSDP", .."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return f"ZeRO-{accelerator.state.deepspeed_plugin.zero_stage}"
    return "FSDP" if accelerator.distributed_type == DistributedType.FSDP else "whole"


def check_launch(accelerator: Accelerator) -> None:
    """Raise where a launch is not what it says."""
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" and backend_of(accelerator) != "FSDP":
        raise ValueError(
            "FSDP was asked for, and accelerate has it for GPUs alone: here each process would hold the whole model. "
            "Launch with recipes/configs/accelerate/two_cpu.yaml, or with ZeRO-3, which works on processors."
        )


def prepare(accelerator: Accelerator, *, optim: str) -> None:
    """Raise where a launch is not what it says, or has an optimizer of its own that moves idle tasks."""
    check_launch(accelerator)
    if accelerator.distributed_type != DistributedType.DEEPSPEED:
        return
    config = accelerator.state.deepspeed_plugin.deepspeed_config
    if "optimizer" in config:
        raise ValueError(
            "DeepSpeed's own optimizer moves the heads of tasks that are not in a step. Leave `optimizer` out of its "
            "configuration: the learning rate, betas and weight decay are those of the training arguments."
        )
    if not optim.startswith("adamw_torch"):
        raise ValueError(
            f"Under DeepSpeed, {optim} would move the heads of tasks that are not in a step. Leave optim at "
            "adamw_torch_fused, or launch without DeepSpeed."
        )
    # Else it takes an AdamW of its own for weights that are kept off the GPU.
    config["zero_force_ds_cpu_optimizer"] = False


def leave() -> None:
    """End what processes have in common, after the trainer was let go: what outlives it aborts some of them at exit."""
    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
