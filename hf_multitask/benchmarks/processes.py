"""Training steps that several processes share, in turns with everything else."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel

from .memory import resident
from .turns import synchronize
from .workload import Workload

__all__ = ["shared_steps"]


def shared_steps(workload: Workload, processes: int) -> tuple[Callable[[int], None], float]:
    """Steps of `workload.rows` rows of each task, divided over processes that wait between them, and how many bytes
    each of these takes at most. They end with this process."""
    own = replace(workload, rows=max(1, workload.rows // processes))
    meeting, context = str(Path(mkdtemp(), "meeting")), get_context("spawn")
    ends = []
    for rank in range(processes):
        here, there = context.Pipe()
        context.Process(target=work, args=(own, rank, processes, meeting, there), daemon=True).start()
        # Else nobody would notice when it dies.
        there.close()
        ends.append(here)

    def step(i: int) -> None:
        for end in ends:
            end.send(i)
        for end in ends:
            end.recv()

    for i in (0, 1):
        step(i)
    for end in ends:
        end.send(None)
    return step, max(end.recv() for end in ends)


def work(workload: Workload, rank: int, processes: int, meeting: str, orders: Connection) -> None:
    """Take a step for each number that comes; None asks for the most memory so far."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    devices = torch.cuda.device_count() if workload.device.startswith("cuda") else 0
    if devices:
        torch.cuda.set_device(rank % devices)
    # NCCL wants a device for each process.
    backend = "nccl" if devices >= processes else "gloo"
    init_process_group(backend, init_method=f"file://{meeting}", rank=rank, world_size=processes)
    model = workload.model()
    shared = DistributedDataParallel(model)

    def backward(batch: Mapping[str, Any]) -> None:
        with workload.autocast():
            loss = shared(**batch).loss
        loss.backward()

    step = workload.training(model, backward)
    try:
        while True:
            order = orders.recv()
            if order is None:
                orders.send(resident("VmHWM"))
                continue
            step(order)
            synchronize()
            orders.send(None)
    except EOFError:
        destroy_process_group()
