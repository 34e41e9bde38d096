"""Peak memory of every step of Private Evolution, beside the formula of docs/architecture.md.

    python benchmarks/memory.py [N]

Images of 64×64×3 and embeddings of 2,048 numbers, one class (a joint histogram), as many private
images as synthetic ones. Generator and encoder cost nothing, so that what is measured is what the
workflow itself holds. Each step runs in a process of its own, at N and at N/2: memory that grows
with N would show. Anonymous memory is counted; pages of mapped files are the kernel's to drop.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from workflow_scripts.evolution.blocks import blocks_of, initialise, look_ahead, vary
from workflow_scripts.evolution.votes import release_votes
from workflow_scripts.files import write_rows
from workflow_scripts.generators.population import (
    Population,
    StoredPopulation,
    save_population,
)
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.noise import noise_of
from workflow_scripts.shards import Shards

IMAGE = {"size": 64, "channels": 3}
PIXELS, DIMENSION, BLOCK, L = 64 * 64 * 3, 2048, 500, 2
MIB = 2**20


class Free:
    """A generator whose images cost nothing to make."""

    def random(self, labels, rng):
        images = np.zeros((len(labels), 64, 64, 3), np.uint8)
        images[:, 0, 0, 0] = rng.integers(0, 256, len(labels))
        return Population(images, labels)

    def vary(self, population, degree, rng):
        return Population(population.images.copy(), population.labels)


def encode(images: np.ndarray) -> np.ndarray:
    return np.resize(
        images.reshape(len(images), PIXELS)[:, :DIMENSION], (len(images), DIMENSION)
    ) / (np.float32(255))


def anonymous() -> float:
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith("RssAnon")]
    return int(line.split()[1]) / 1024


def step(name: str, folder: Path, n: int) -> None:
    blocks, labels = blocks_of(n, BLOCK, "1-of-1"), np.zeros(n, np.int64)
    population, ahead = folder / "population", folder / "ahead"
    if name == "initialise":
        save_population(population, initialise(Free(), labels, 0, {}, blocks, ["a"]), n)
    elif name == "look_ahead":
        stored = StoredPopulation(population)
        rows = look_ahead(Free(), encode, stored, 1, {}, L, IMAGE, blocks, ["b"])
        write_rows(ahead, rows, n)
    elif name == "vote":
        mechanism = DiscreteGaussianMechanism.of(1.0)
        release_votes(Shards(ahead), Shards(ahead), mechanism, noise_of("os"), joint=True)
    elif name == "select":
        parents = np.random.default_rng(0).integers(0, n, n)
        save_population(folder / "parents", StoredPopulation(population).blocks(parents), n)
    elif name == "vary":
        parents = StoredPopulation(folder / "parents")
        save_population(folder / "next", vary(Free(), parents, {}, 1, False, blocks, ["c"]), n)
    elif name == "release":
        blocks = (
            {"images": b.images, "labels": b.labels} for b in StoredPopulation(population).blocks()
        )
        write_rows(folder / "release", blocks, n)


def measured(name: str, folder: Path, n: int) -> float:
    """MiB of anonymous memory that a step takes at its peak, in a process of its own."""
    command = [sys.executable, __file__, name, str(folder), str(n)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603


def formula(name: str, n: int) -> float:
    block, rows = min(BLOCK, n), min(4096, n)
    return {
        "initialise": 4 * block * PIXELS,
        "look_ahead": 4 * block * PIXELS + 3 * block * 8 * DIMENSION,
        "vote": 2 * 4 * n * DIMENSION + 3 * 4 * rows * DIMENSION,
        "select": 3 * rows * PIXELS + 8 * n,
        "vary": 4 * block * PIXELS,
        "release": 3 * rows * PIXELS,
    }[name] / MIB


def main(n: int) -> None:
    print(
        f"{'step':12s} {'N':>8s} {'measured':>10s} {'formula':>10s} {'at N = 300,000':>15s}   MiB"
    )
    for size in (n // 2, n):
        with TemporaryDirectory() as folder:
            for name in ("initialise", "look_ahead", "vote", "select", "vary", "release"):
                peak = measured(name, Path(folder), size)
                found = f"{name:12s} {size:8,} {peak:10.0f} {formula(name, size):10.0f}"
                print(f"{found} {formula(name, 300_000):15.0f}", flush=True)


def watched(name: str, folder: Path, n: int) -> None:
    """Run a step and print its peak above what the process held before."""
    import faiss  # noqa: F401 — before the start is measured

    before, peak, done = anonymous(), [0.0], threading.Event()

    def watch():
        while not done.is_set():
            peak[0] = max(peak[0], anonymous())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    step(name, folder, n)
    done.set()
    watcher.join()
    print(peak[0] - before)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        watched(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 12_000)
