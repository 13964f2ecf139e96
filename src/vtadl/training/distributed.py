"""Several processes that train one model: started by torchrun, each on its share of every batch.

Losses, gradients and batch statistics are those of one process with the same global batch, up to rounding: every sum
over the batch is taken over all processes, weighted by how many images each of them holds. torch's own wrapper for this
weighs all processes alike, and stops at weights that an objective does not reach.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from vtadl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """The processes of one training, seen from one of them."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def share(self, batch: Sequence[int]) -> Sequence[int]:
        """This process's part of a batch: contiguous, parts differ by one at most, so the last may be empty."""
        least, more = divmod(len(batch), self.size)
        start = self.rank * least + min(self.rank, more)
        return batch[start : start + least + (self.rank < more)]

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def sum_all(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one message."""
        if self.size > 1:
            packed = self.sum(torch.cat([tensor.flatten() for tensor in tensors]))
            sums = torch.split(packed, [tensor.numel() for tensor in tensors])
            for tensor, total in zip(tensors, sums, strict=True):
                tensor.copy_(total.view_as(tensor))

    def wait(self) -> None:
        """Continue when all processes have come this far."""
        if self.size > 1:
            distributed.barrier()


ALONE = ProcessGroup()


def launched_rank() -> int | None:
    """Which process of a torchrun this is; ``None`` without torchrun."""
    return int(os.environ["RANK"]) if {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys() else None


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[ProcessGroup, torch.device]]:
    """Join the processes that torchrun started, over gloo on a CPU and nccl on GPUs; alone without torchrun.

    Yields:
        The group, and this process's own device.

    Raises:
        ConfigError: more processes than GPUs.
    """
    rank = launched_rank()
    if rank is None or distributed.is_initialized():
        yield ALONE, device
        return
    backend = "gloo"
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", rank))
        if local >= torch.cuda.device_count():
            raise ConfigError(f"process {local} has no GPU of its own: {torch.cuda.device_count()} here; start fewer")
        backend, device = "nccl", torch.device("cuda", local)
        torch.cuda.set_device(device)
    distributed.init_process_group(backend)
    try:
        yield ProcessGroup(rank=rank, size=distributed.get_world_size()), device
    finally:
        distributed.destroy_process_group()


class _AllSum(torch.autograd.Function):
    """The sum over all processes. Each result feeds every process's loss, so gradients are summed likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def all_sum(x: Tensor) -> Tensor:
    """Differentiable sum over all processes."""
    total: Tensor = _AllSum.apply(x)  # type: ignore[no-untyped-call]
    return total


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes, on any device; torch's own refuses tensors on a CPU."""

    idle = False
    """Whether this process's images are only there to keep step with the others, and count for nothing."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x_BCHW)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        x = x_BCHW.to(torch.promote_types(x_BCHW.dtype, torch.float32))
        counted = 0.0 if self.idle else 1.0
        count = x.new_tensor([counted * x.numel() / x.shape[1]])
        sums = all_sum(torch.cat([counted * x.sum((0, 2, 3)), count]))
        mean_C, total = sums[:-1] / sums[-1], sums[-1].detach()
        centred = x - mean_C[:, None, None]
        var_C = all_sum(counted * centred.square().sum((0, 2, 3))) / total
        with torch.no_grad():
            self.running_mean.lerp_(mean_C, self.momentum)
            self.running_var.lerp_(var_C * (total / (total - 1)), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        y = centred * (var_C + self.eps).rsqrt()[:, None, None]
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(x_BCHW.dtype)


def share_batch_statistics(model: nn.Module) -> None:
    """Let every batch normalisation of the model see all processes' images; its state keeps its names."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            # Nothing but forward() differs, so the module, its tensors and its names can stay.
            module.__class__ = SharedBatchNorm2d


def set_idle(model: nn.Module, idle: bool) -> None:
    """Say whether this process's next batch counts."""
    for module in model.modules():
        if isinstance(module, SharedBatchNorm2d):
            module.idle = idle
