"""What every training run does at a step, whatever it learns."""

from __future__ import annotations

import argparse
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

SIXTEEN_BITS = torch.cpu._is_amx_tile_supported()  # whether the processor multiplies matrices of them


def precision() -> torch.autocast:
    """Sixteen bits where the processor has AMX; with AVX-512 alone they are slower, elsewhere ten times as slow."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=SIXTEEN_BITS)


def rate_at(highest: float, warm_up: int, step: int, share: float) -> float:
    """The learning rate: rises over `warm_up` steps, falls as a cosine over the `share` of time that has passed."""
    return highest * min(1, (step + 1) / warm_up, 0.51 + 0.5 * math.cos(math.pi * share))


def take_over(network: nn.Module, weights: dict[str, Tensor], later: str) -> list[str]:
    """Begin with the weights of this network, or of one that lacked layers whose names begin with `later` -> what it
    lacked. Raises ValueError for those of any other."""
    missing, unknown = network.load_state_dict(weights, strict=False)
    if others := unknown + [name for name in missing if not name.startswith(later)]:
        raise ValueError(f"the weights to begin with are of a network of another shape: {', '.join(others)}")
    return missing


def learn(optimiser: torch.optim.Optimizer, network: nn.Module, loss: Tensor, rate: float, longest: float) -> None:
    """One step down the gradient of `loss`, which is cut to a norm of `longest`."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), longest)
    optimiser.step()


def follow(averaged: nn.Module, network: nn.Module, averaging: float, step: int) -> None:
    """Move the running mean of the weights towards the network; it forgets faster in the first steps."""
    keep = min(averaging, step / (step + 10))
    with torch.no_grad():
        for mean, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)


def arguments(
    description: str | None, minutes: float, rate: float, start: str = "a checkpoint"
) -> argparse.ArgumentParser:
    """What every training is told; what it learns from is added by each."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path, help=start)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--out", type=Path, required=True)
    return parser


def maker(make: Callable[..., None], *given: object) -> tuple[multiprocessing.Queue, multiprocessing.Process]:
    """Another process, which runs already: `make(*given, queue)` puts batches into the queue as they are taken."""
    queue: multiprocessing.Queue = multiprocessing.Queue(4)
    process = multiprocessing.Process(target=make, args=(*given, queue), daemon=True)
    process.start()
    return queue, process


def within(seconds: float, queue: multiprocessing.Queue) -> Iterator[tuple[float, tuple]]:
    """The batches of a queue, with the seconds that have passed since the first, until so many have."""
    began = None
    while True:
        batch = queue.get()
        began = began or time.monotonic()
        passed = time.monotonic() - began
        if passed > seconds:
            return
        yield passed, batch
