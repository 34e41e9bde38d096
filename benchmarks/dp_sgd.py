"""A step of DP-SGD over a step of plain training, for the same network and images.

    python benchmarks/dp_sgd.py [THREADS]

A plain step is forward, backward and Adam on 64 rows; a step of DP-SGD has the same rows as K views
of 64/K images, clips the gradient of every image, adds noise and ends with Adam too. The second
baseline takes the gradients from Opacus' hooks, as it ships them: of every row, averaged over views
afterwards. Ratios are of medians over repeats that take turns, of CPU seconds on one thread (the
default) and else of seconds; only ratios mean anything, on the machine and at the load of that
session. Memory is what a process of its own holds at most beyond the network and its images; on a
GPU, what torch has allocated.
"""

import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from opacus import GradSampleModule
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from workflow_scripts.dpsgd.per_sample import PerSampleGradients
from workflow_scripts.edm.network import SongUnet

REPEATS = 7
ROWS = 64
VIEWS = (1, 4, 8)
NETWORKS = {
    28: {"in_channels": 1, "multipliers": (2, 2), "attention": (14,)},
    32: {"in_channels": 3, "multipliers": (1, 2, 2), "attention": (16,)},
}
CHANNELS, CLASSES = 32, 10
BOUND, SIGMA = 1.0, 1.0
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Rows:
    """A network of its own, rows of noise to learn, and Adam."""

    def __init__(self, size: int):
        torch.manual_seed(0)
        self.network = SongUnet(
            size, channels=CHANNELS, num_class_embeds=CLASSES, **NETWORKS[size]
        ).to(DEVICE)
        self.x = torch.randn(ROWS, self.network.config.in_channels, size, size, device=DEVICE)
        self.times = torch.randn(ROWS, device=DEVICE)
        self.labels = torch.arange(ROWS, device=DEVICE) % CLASSES
        self.optimiser = torch.optim.Adam(self.network.parameters(), 1e-4)

    def losses(self, network: nn.Module) -> torch.Tensor:
        output = network(self.x, self.times, class_labels=self.labels).sample
        return (output - self.x).square().mean((1, 2, 3))

    def step(self, gradients: dict[str, torch.Tensor]) -> None:
        for name, parameter in self.network.named_parameters():
            noise = torch.randn_like(parameter)
            parameter.grad = gradients[name].add_(noise, alpha=SIGMA * BOUND)
        self.optimiser.step()
        self.optimiser.zero_grad()


def plain(size: int, views: int) -> Callable[[], None]:
    rows = Rows(size)

    def step() -> None:
        rows.losses(rows.network).mean().backward()
        rows.optimiser.step()
        rows.optimiser.zero_grad()

    return step


def dp_sgd(size: int, views: int) -> Callable[[], None]:
    rows = Rows(size)
    per_sample = PerSampleGradients(rows.network)

    def step() -> None:
        with per_sample.recording():
            losses = rows.losses(rows.network)
        sums, _ = per_sample.clipped_sum(losses, views, factors)
        rows.step(sums)

    return step


def opacus(size: int, views: int) -> Callable[[], None]:
    rows = Rows(size)
    network = GradSampleModule(rows.network, loss_reduction="sum")

    def step() -> None:
        rows.losses(network).sum().backward()
        by_sample = {
            name: parameter.grad_sample.unflatten(0, (-1, views)).mean(1)
            for name, parameter in rows.network.named_parameters()
        }
        norms = torch.stack([value.flatten(1).norm(dim=1) for value in by_sample.values()])
        scale = factors(norms.norm(dim=0))
        sums = {
            name: torch.einsum("b,b...->...", scale, value) for name, value in by_sample.items()
        }
        for parameter in rows.network.parameters():
            parameter.grad_sample = None
        rows.step(sums)

    return step


def factors(norms: torch.Tensor) -> torch.Tensor:
    return (BOUND / norms).clamp(max=1)


WAYS = {"plain": plain, "DP-SGD": dp_sgd, "Opacus": opacus}


def seconds(steps: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Medians; the ways take turns, so that load falls on all alike."""
    one_thread = DEVICE.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if one_thread else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(REPEATS + 1):
        for name, step in steps.items():
            start = clock()
            step()
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            # The first is for what is done once.
            if repeat > 0:
                times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def held(way: str, size: int, views: int) -> float:
    """MiB at the peak of two steps, beyond what was there before."""
    step = WAYS[way](size, views)
    if DEVICE.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        for _ in range(2):
            step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    before = resident("VmRSS")
    for _ in range(2):
        step()
    return resident("VmHWM") - before


def resident(key: str) -> float:
    """MiB; not of `getrusage`, whose maximum includes that of the process that started this one."""
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith(key)]
    return int(line.split()[1]) / 1024


def held_apart(way: str, size: int, views: int) -> float:
    command = [sys.executable, __file__, "held", way, str(size), str(views)]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)  # noqa: S603


def main() -> None:
    warnings.filterwarnings("ignore", "Full backward hook")
    if sys.argv[1:2] == ["held"]:
        torch.set_num_threads(1)
        print(held(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
        return
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    for size in NETWORKS:
        for views in VIEWS:
            taken = seconds({name: way(size, views) for name, way in WAYS.items()})
            memory = {name: held_apart(name, size, views) for name in WAYS}
            print(
                f"{size} px, K = {views}: "
                + ", ".join(
                    f"{name} / plain: time ×{taken[name] / taken['plain']:.2f}, "
                    f"memory ×{memory[name] / memory['plain']:.2f}"
                    for name in ("DP-SGD", "Opacus")
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
