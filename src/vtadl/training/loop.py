"""The training loop: batches in a keyed order, losses term by term, checkpoints, and clean ends.

Everything random depends on the seed, the step and the sample, so a step is the same whether the training came to it in
one go, after a kill, or on several processes.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer
from torch.utils._triton import has_triton

from vtadl.config.schema import TrainingConfig
from vtadl.errors import ConfigError, TrainingError, TrainingInterrupted
from vtadl.models.protocol import Examples, GraphableNetwork, Network
from vtadl.progress import Advance, Progress, silent
from vtadl.runs.checkpoint import TrainingLog, TrainingState
from vtadl.terminal import finishing_the_item
from vtadl.training.cuda_graph import GraphedGradients
from vtadl.training.distributed import ALONE, ProcessGroup, set_idle, share_batch_statistics
from vtadl.training.gradients import Differentiate, Gradients
from vtadl.training.schedule import Plan, learning_rate, plan, sample_order

COLLAPSED_VARIANCE = 1e-6
"""Share of the first step's embedding variance below which nothing is left to tell patches apart: a thousandth of the
spread. A likelihood alone can drive embeddings there, for a constant is easy to predict."""
COMPILED_FROM = 2000
"""Steps from which on a minute or two of compiling is a small part of a training on a GPU."""
Observe = Callable[[Mapping[str, Any]], object]


@dataclass(frozen=True, kw_only=True)
class _Batch:
    step: int
    """Steps done before this one."""
    images: int
    """In all processes."""
    share: Sequence[int]
    """This process's samples; empty where there are fewer images than processes."""
    examples: Tensor
    """``(B, ...)``."""


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """A step's numbers, of all processes."""

    raw: dict[str, float]
    variance: float
    gradient_norm: float
    interrupted: bool


def optimise(
    network: Network,
    examples: Examples,
    training: TrainingConfig,
    seed: int,
    device: torch.device,
    *,
    group: ProcessGroup = ALONE,
    training_log: TrainingLog | None = None,
    progress: Progress = silent,
    observe: Observe | None = None,
) -> TrainingState:
    """Train a network in place; its weights in the end are those of the last step, whatever the best one was.

    The network is on ``device``. The processes of a ``group`` have the same arguments. Without a ``training_log``,
    which keeps log and checkpoints and where to resume from, nothing is written. ``observe`` gets each line of the log;
    it may score with the network, not change it.

    Returns:
        The state at the end.

    Raises:
        ConfigError: fewer images a batch than processes.
        TrainingError: a loss or gradient is not finite, the embeddings collapsed, or the disk is full.
        TrainingInterrupted: Ctrl-C; a checkpoint of the step was written first.
    """
    if training.batch_size < group.size:
        raise ConfigError(
            f"training.batch_size is {training.batch_size}, but there are {group.size} processes to share it"
        )
    planned = plan(training, len(examples))
    assert isinstance(network, nn.Module)
    optimizer = build_optimizer(network, training)
    state = training_log.restore(network, optimizer) if training_log else TrainingState()
    network.train()
    loop = _Loop(network, optimizer, training, planned, seed, device, group, training_log)
    remaining = planned.images_until(planned.steps) - planned.images_until(state.step)
    on_gpu = device.type == "cuda"
    strict = on_gpu and isinstance(network, GraphableNetwork)
    with (
        _deterministic(strict=strict, fused_attention=strict or not on_gpu),
        finishing_the_item() as asked,
        progress("training", remaining) as advance,
    ):
        if training_log and state.step == 0:
            training_log.save(network, optimizer, state)  # a disk that is too small is noticed now
        for batch in _batches(examples, planned, seed, state.step, group):
            state = loop.step(batch, state, asked.is_set, advance, observe)
    return state


def build_optimizer(model: nn.Module, training: TrainingConfig) -> Optimizer:
    """The optimiser over all weights that learn."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[training.optimizer]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer: Optimizer = kind(parameters, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True)
    return optimizer


class _Loop:
    """What stays the same from step to step."""

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        training: TrainingConfig,
        planned: Plan,
        seed: int,
        device: torch.device,
        group: ProcessGroup,
        training_log: TrainingLog | None,
    ) -> None:
        module: object = network
        assert isinstance(module, nn.Module)
        self.module, self.optimizer, self.training, self.plan = module, optimizer, training, planned
        self.device, self.group, self.training_log = device, group, training_log
        self.weights = dict(network.objective.terms)
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.last = time.perf_counter()
        compiled = _compiles(training, device, planned.steps)
        if compiled:
            network.compile_parts()
        plain = Gradients(network, self.parameters, seed, _autocast(training, device))
        self.differentiate: Differentiate = plain
        if device.type == "cuda" and group.size == 1 and not compiled and isinstance(network, GraphableNetwork):
            self.differentiate = GraphedGradients(network, plain)
        if group.size > 1:
            share_batch_statistics(self.module)

    def step(
        self,
        batch: _Batch,
        state: TrainingState,
        interrupted: Callable[[], bool],
        advance: Advance,
        observe: Observe | None,
    ) -> TrainingState:
        """Take one step, log it, and write a checkpoint if it is time."""
        rate = learning_rate(self.training, batch.step, self.plan.steps)
        try:
            measured = self._gradients(batch, interrupted)
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"the memory of the GPU is not enough for step {batch.step + 1}; {self._kept()}; lower "
                f"training.batch_size ({self.plan.batch_size}) or model.image_size and start again"
            ) from error
        state = self._checked(batch, measured, state)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        line = self._line(batch, measured, rate)
        state = self._advanced(state, batch, line["total"])
        now = time.perf_counter()
        state = replace(state, seconds=state.seconds + now - self.last)
        self.last = now
        if batch.step % self.plan.log_every == 0 or state.step == self.plan.steps:
            if self.training_log:
                self.training_log.log(line)
            if observe:
                observe(line)
        advance(batch.images, "  ".join(f"{name} {value:.4g}" for name, value in measured.raw.items()))
        self._keep(state, interrupted=measured.interrupted)
        return state

    def _gradients(self, batch: _Batch, interrupted: Callable[[], bool]) -> _Measured:
        part = len(batch.share) / batch.images
        set_idle(self.module, not batch.share)
        # The parameters then have their gradients.
        examples, samples = batch.examples.to(self.device), list(batch.share) or [0]
        raw, variance = self.differentiate(examples, batch.step, samples, part)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        self.group.sum_all(gradients)
        norm = nn.utils.get_total_norm(gradients)
        if self.training.gradient_clip is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, self.training.gradient_clip, norm)
        values = torch.stack([*raw.values(), variance]).detach().double()
        values = values * part if batch.share else torch.zeros_like(values)
        stopped = values.new_tensor([float(interrupted())])
        # One transfer a step: on a GPU each one waits for the device.
        packed = self.group.sum(torch.cat([values, stopped, norm.double()[None] / self.group.size]))
        *terms, spread, stop, size = packed.tolist()
        return _Measured(
            raw=dict(zip(raw, terms, strict=True)), variance=spread, gradient_norm=size, interrupted=stop > 0
        )

    def _checked(self, batch: _Batch, measured: _Measured, state: TrainingState) -> TrainingState:
        """Stop before a step that would spoil the weights."""
        broken = [f"loss term '{name}'" for name, value in measured.raw.items() if not math.isfinite(value)]
        if not math.isfinite(measured.gradient_norm):
            broken.append("the gradient")
        kept = self._kept()
        if broken:
            raise TrainingError(
                f"{broken[0]} is not finite at step {batch.step + 1}; {kept}; lower training.learning_rate or set "
                "training.gradient_clip and start again"
            )
        first = measured.variance if state.first_variance is None else state.first_variance
        # Only full batches are compared: a last one of few images has little variance of its own.
        if batch.images == self.plan.batch_size and measured.variance < COLLAPSED_VARIANCE * first:
            raise TrainingError(
                f"the embeddings collapsed at step {batch.step + 1}: their variance fell from {first:.3g} to "
                f"{measured.variance:.3g}, so all patches look alike; {kept}; give reconstruction terms more weight "
                "or lower training.learning_rate and start again"
            )
        return replace(state, first_variance=first)

    def _kept(self) -> str:
        return self.training_log.kept() if self.training_log else "nothing was written"

    def _line(self, batch: _Batch, measured: _Measured, rate: float) -> dict[str, Any]:
        terms = {name: {"raw": value, "weighted": self.weights[name] * value} for name, value in measured.raw.items()}
        return {
            "step": batch.step + 1,
            "epoch": batch.step // self.plan.steps_per_epoch + 1,
            "total": math.fsum(term["weighted"] for term in terms.values()),
            "terms": terms,
            "learning_rate": rate,
            "gradient_norm": measured.gradient_norm,
            "embedding_variance": measured.variance,
            "images": batch.images,
        }

    def _advanced(self, state: TrainingState, batch: _Batch, total: float) -> TrainingState:
        state = replace(
            state,
            step=batch.step + 1,
            epoch_loss=state.epoch_loss + total * batch.images,
            epoch_images=state.epoch_images + batch.images,
        )
        if state.step % self.plan.steps_per_epoch:
            return state
        mean = state.epoch_loss / state.epoch_images
        if state.best_loss is None or mean < state.best_loss:
            state = replace(state, best_loss=mean, best_epoch=state.step // self.plan.steps_per_epoch)
        return replace(state, epoch_loss=0.0, epoch_images=0)

    def _keep(self, state: TrainingState, *, interrupted: bool) -> None:
        last = state.step == self.plan.steps
        if self.training_log and (interrupted or last or state.step % self.training.checkpoint_every == 0):
            self.training_log.save(self.module, self.optimizer, state)
        if interrupted and not last:
            where = "; to resume: the same command with --resume" if self.training_log else ""
            raise TrainingInterrupted(f"interrupted after step {state.step} of {self.plan.steps}{where}")


def _batches(examples: Examples, planned: Plan, seed: int, start: int, group: ProcessGroup) -> Iterator[_Batch]:
    step = start
    while step < planned.steps:
        epoch, position = divmod(step, planned.steps_per_epoch)
        order = sample_order(seed, epoch, planned.images)
        chunks = [order[first : first + planned.batch_size] for first in range(0, planned.images, planned.batch_size)]
        chunks = chunks[position : position + planned.steps - step]
        shares = [group.share(chunk) for chunk in chunks]
        # A process without a share still takes part in every sum, with an image that counts for nothing.
        loaded = examples.batches([share or chunk[:1] for share, chunk in zip(shares, chunks, strict=True)])
        for chunk, share, batch in zip(chunks, shares, loaded, strict=True):
            yield _Batch(step=step, images=len(chunk), share=share, examples=batch)
            step += 1


def _autocast(training: TrainingConfig, device: torch.device) -> Any:
    gains = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if training.precision == "bfloat16" or (training.precision == "auto" and gains):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def _compiles(training: TrainingConfig, device: torch.device, steps: int) -> bool:
    if training.compile != "auto":
        return training.compile == "always"
    return device.type == "cuda" and steps >= COMPILED_FROM and has_triton()


@contextmanager
def _deterministic(*, strict: bool, fused_attention: bool) -> Iterator[None]:
    """Ask torch for algorithms that give the same bits each time.

    Where there is none, it is an error if ``strict`` and a warning else. Fused attention has one on a GPU, but torch
    takes it in the first case alone; without ``fused_attention``, products and a softmax compute the same.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when the GPU is first used
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    settings = torch.utils.deterministic
    fills = settings.fill_uninitialized_memory  # type: ignore[attr-defined]  # missing in torch's stubs
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    settings.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # we read none, and filling takes time
    try:
        with nullcontext() if fused_attention else sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        settings.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
