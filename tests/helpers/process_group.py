"""`vtadl` in processes that are killed, or that work together as torchrun would start them. Called in a fork."""

import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from helpers.forks import ended, fork
from vtadl.cli import main
from vtadl.config.schema import PaperConfig, TrainingConfig
from vtadl.data.cached_images import CachedImages
from vtadl.data.training_images import TrainingImages
from vtadl.losses.objective import parse_objective
from vtadl.losses.ssim import ssim
from vtadl.models.paper_network import PaperModel
from vtadl.training.distributed import joined, set_idle, share_batch_statistics
from vtadl.training.loop import optimise


def all_ended(children: list[int]) -> list[int]:
    """Their exit codes; when one fails the others, which wait for it, are killed, as torchrun does."""
    codes = {}
    while len(codes) < len(children):
        child, status = os.wait()
        codes[child] = os.waitstatus_to_exitcode(status)
        if codes[child] != 0:
            for other in set(children) - codes.keys():
                os.kill(other, signal.SIGKILL)
    return [codes[child] for child in children]


def kill_and_resume(arguments: list[str], log: Path, moments: list[float]) -> list[int]:
    """Start the command again and again; each but the last is killed some seconds after its first new line."""
    codes = []
    for delay in moments:
        before = log.read_bytes() if log.exists() else b""
        child = fork(lambda: main(arguments))
        while (log.read_bytes() if log.exists() else b"") == before:
            time.sleep(0.002)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        codes.append(ended(child))
    codes.append(ended(fork(lambda: main(arguments))))
    return codes


def as_team(port: int, work: Callable[[int], int]) -> list[int]:
    """Start two processes as torchrun would; their process numbers."""
    children = []
    os.environ.update(WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    for rank in range(2):
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        children.append(fork(partial(work, rank)))
    return children


def interrupt_group(port: int, arguments: list[str], log: Path, lines: int) -> list[int]:
    """Press Ctrl-C when the log has so many lines; 0 for each process that ends with 130, as it should."""
    children = as_team(port, lambda rank: main(arguments))
    while not log.exists() or log.read_bytes().count(b"\n") < lines:
        time.sleep(0.002)
    for child in children:
        os.kill(child, signal.SIGINT)
    return [ended(child) - 130 for child in children]


def normalise(rank: int, folder: Path) -> int:
    """Batch normalisation of one process's share of images, and its gradients."""
    images = load_file(folder / "images.safetensors")
    with joined(torch.device("cpu")) as (group, _):
        for case, all_images in images.items():
            norm = nn.Sequential(nn.BatchNorm2d(3))
            share_batch_statistics(norm)
            share = group.share(range(len(all_images)))
            set_idle(norm, not share)
            x = all_images[list(share) or [0]].clone().requires_grad_()
            y = norm(x)
            loss = (y.sigmoid() * torch.arange(float(y[0].numel())).view_as(y[0])).sum()
            (loss * bool(share)).backward()
            found = {"y": y.detach(), "x_grad": x.grad, "weight_grad": norm[0].weight.grad}
            found |= {"running_mean": norm[0].running_mean, "running_var": norm[0].running_var}
            save_file({name: value.contiguous() for name, value in found.items()}, folder / f"{case}{rank}.safetensors")
    return 0


class Smooth(nn.Module):
    """Convolutions and a batch normalisation without kinks, where rounding cannot flip a branch; noise as asked for."""

    def __init__(self, objective):
        super().__init__()
        self.objective = objective
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 3, 3, padding=1)
        )

    def terms(self, images_B3HW, *, seed, step, samples):
        shape = images_B3HW.shape[1:]
        noise = [np.random.default_rng((seed, step, sample)).standard_normal(shape) for sample in samples]
        x = self.layers(images_B3HW + 0.1 * torch.from_numpy(np.stack(noise)).float())
        return {"mse": (x - images_B3HW).square().mean(), "ssim": ssim(x, images_B3HW)}, x.detach().var()

    def anomaly_map(self, images_B3HW):
        return (self.layers(images_B3HW) - images_B3HW).square().mean(1)


SMALL = PaperConfig(image_size=16, patch_size=8, width=32, depth=2, heads=2, mlp_width=32, mixtures=2, latent_width=4)
"""For images so small that the decoder has no ReLU, over whose kink rounding could push a value."""
NETWORKS = {
    "smooth": ("2*mse + ssim", Smooth),
    "densities": ("nll + vae", partial(PaperModel, SMALL)),
    "original": ("5*mse + 0.5*ssim + nll", partial(PaperModel, SMALL)),
    "proposed": ("mse + vae", partial(PaperModel, SMALL)),
}
"""What is trained by one process and by two: an objective, and a network of it."""


def train_each(folder: Path, batch_sizes: list[int]) -> int:
    """Twenty steps on the images of ``folder`` for each network and batch size; the leading process writes the log."""
    images = CachedImages(TrainingImages(paths=tuple(sorted(folder.glob("*.png")))), (16, 16))
    with joined(torch.device("cpu")) as (group, device):
        for (name, (expression, build)), batch_size in itertools.product(NETWORKS.items(), batch_sizes):
            torch.manual_seed(0)
            network = build(parse_objective(expression))
            training = TrainingConfig(steps=20, batch_size=batch_size, learning_rate=1e-3)
            lines: list[object] = []
            optimise(network, images, training, 3, device, group=group, observe=lines.append)
            if group.is_main:
                place = f"{name}-{batch_size}-of-{group.size}"
                save_file(network.state_dict(), folder / f"{place}.safetensors")
                (folder / f"{place}.json").write_text(json.dumps(lines))
    return 0


def run_group(port: int, arguments: list[str]) -> list[int]:
    """A command in two processes; their exit codes."""
    return all_ended(as_team(port, lambda rank: main(arguments)))


def train_each_in_group(port: int, folder: Path, batch_sizes: list[int]) -> list[int]:
    """`train_each` in two processes."""
    return all_ended(as_team(port, lambda rank: train_each(folder, batch_sizes)))


def normalise_in_group(port: int, folder: Path) -> list[int]:
    """`normalise` in two processes."""
    return all_ended(as_team(port, lambda rank: normalise(rank, folder)))
