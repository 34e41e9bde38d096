"""A whole Sim-PE run, the votes, and what an iteration costs beside its generator, encoder, search.

    python benchmarks/private_evolution.py

3,000 private and 3,000 synthetic images of 28×28, L = 4, T = 2, votes on raw pixels: 33,000
renders.
The baseline is the same algorithm as the reference library has it: one image at a time, the font
opened for each, arrays of Python objects stacked for every call. Process start and imports are
excluded; files are written and read as the workflow's steps do. One core, and only ratios mean
anything.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import faiss
import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parents[1]))

from workflow_scripts.encoders import encode_pixels
from workflow_scripts.evolution import votes as voting
from workflow_scripts.evolution.blocks import blocks_of, initialise, look_ahead, vary
from workflow_scripts.evolution.selection import ballots, select_parents
from workflow_scripts.files import read_arrays, write_arrays, write_rows
from workflow_scripts.generators.fonts import find_fonts
from workflow_scripts.generators.population import StoredPopulation, save_population
from workflow_scripts.generators.text import TextSimulator
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.noise import noise_of
from workflow_scripts.shards import Shards

DIGITS = tuple("0123456789")
SETTINGS = {
    "kind": "text", "fonts": "matplotlib", "texts": None, "image_size": 28, "channels": 1,
    "supersampling": 1, "size": [10, 29], "rotation": 30, "stroke": [0, 2], "shift": 0,
    "foreground": [255, 255], "background": [0, 0], "block_size": 500,
}  # fmt: skip
DEGREES = [
    {"font": 0.8, "size": 5, "rotation": 9, "stroke": 1, "shift": 0},
    {"font": 0.4, "size": 4, "rotation": 7, "stroke": 1, "shift": 0},
]
IMAGE = {"size": 28, "channels": 1}
N, L, SIGMA, THRESHOLD = 3000, 4, 1.0, 1.0


class Clock:
    """Seconds spent in named parts."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def watch(self, name: str, function: Callable) -> Callable:
        def watched(*arguments):
            with self.part(name):
                return function(*arguments)

        return watched


def ours(folder: Path, private: Path, n: int, lookahead: int, clock: Clock) -> None:
    """T iterations as the workflow's steps do them, on one shard."""
    generator = TextSimulator(DIGITS, SETTINGS)
    generator.random = clock.watch("generator", generator.random)
    generator.vary = clock.watch("generator", generator.vary)
    encoder = clock.watch("encoder", encode_pixels)
    search = voting.ExactIndex.nearest
    voting.ExactIndex.nearest = clock.watch("search", search)
    blocks, sizes = blocks_of(n, SETTINGS["block_size"], "1-of-1"), (n // 10,) * 10
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), n // 10)
    population, ahead = folder / "population", folder / "ahead"
    save_population(population, initialise(generator, labels, 0, {}, blocks, ["0"]), n)
    for t, degree in enumerate(DEGREES, start=1):
        stored = StoredPopulation(population)
        rows = look_ahead(
            generator, encoder, stored, 1, degree, lookahead, IMAGE, blocks, ["look", t]
        )
        write_rows(ahead, rows, n)
        noisy, _ = voting.release_votes(
            Shards(private), Shards(ahead), DiscreteGaussianMechanism.of(SIGMA), noise_of("os")
        )
        write_arrays(folder / "votes", {"votes": noisy})
        noisy = read_arrays(folder / "votes")["votes"]
        parents = select_parents(noisy, ballots(stored.labels, sizes), THRESHOLD, "sample", rng)
        save_population(folder / "parents", stored.blocks(parents), n)
        chosen = StoredPopulation(folder / "parents")
        population = folder / f"population{t}"
        save_population(population, vary(generator, chosen, degree, 1, False, blocks, [t]), n)
    voting.ExactIndex.nearest = search


def baseline(images: np.ndarray, private_labels: np.ndarray) -> None:
    """The reference's formulation of the same run."""
    fonts = [str(path) for path in find_fonts("matplotlib", DIGITS)]
    rng = np.random.default_rng(0)
    ranges = {
        "font": (0, len(fonts) - 1),
        "size": (10, 29),
        "rotation": (-30, 30),
        "stroke": (0, 2),
    }

    def draw(text: str, state: dict) -> np.ndarray:
        font = ImageFont.truetype(fonts[state["font"]], state["size"])
        image = Image.new("L", (28, 28))
        pen = ImageDraw.Draw(image)
        left, top, right, bottom = pen.textbbox((0, 0), text, font, stroke_width=state["stroke"])
        corner = ((28 - right - left) / 2, (28 - bottom - top) / 2)
        pen.text(corner, text, 255, font, stroke_width=state["stroke"])
        return np.asarray(image.rotate(state["rotation"], Image.Resampling.BILINEAR))

    def varied(state: dict, degree: dict) -> dict:
        new = {}
        for name, (low, high) in ranges.items():
            if name == "font":
                anew = rng.random() < degree["font"]
                new[name] = int(rng.integers(low, high + 1)) if anew else state[name]
            else:
                step = int(rng.integers(-degree[name], degree[name] + 1))
                new[name] = min(max(state[name] + step, low), high)
        return new

    def embed(pictures: list[np.ndarray]) -> np.ndarray:
        return np.stack([picture.ravel().astype(np.float32) / 255 for picture in pictures])

    states = [
        {name: int(rng.integers(low, high + 1)) for name, (low, high) in ranges.items()}
        for _ in range(N)
    ]
    labels = np.repeat(np.arange(10), N // 10)
    pictures = [draw(DIGITS[y], s) for y, s in zip(labels, states, strict=True)]
    for degree in DEGREES:
        total = 0.0
        for _ in range(L):
            ahead = [varied(s, degree) for s in states]
            total = total + embed([draw(DIGITS[y], s) for y, s in zip(labels, ahead, strict=True)])
        parents = []
        for label in range(10):
            index = faiss.IndexFlatL2(28 * 28)
            index.add(total[labels == label] / L)
            voters = images[private_labels == label].reshape(-1, 28 * 28).astype(np.float32) / 255
            _, rows = index.search(voters, 1)
            noisy = np.bincount(rows[:, 0], minlength=N // 10) + rng.normal(0, SIGMA, N // 10)
            weights = np.maximum(noisy, THRESHOLD) - THRESHOLD
            chosen = rng.choice(N // 10, N // 10, p=weights / weights.sum())
            parents += (np.flatnonzero(labels == label)[chosen]).tolist()
        states = [varied(states[i], degree) for i in parents]
        pictures = [draw(DIGITS[y], s) for y, s in zip(labels, states, strict=True)]
    np.stack(pictures)


def votes_against_bare_search(folder: Path) -> float:
    """Seconds of a vote over seconds of faiss alone, 20,000 voters, 10,000 candidates, 256-d."""
    rng = np.random.default_rng(0)
    for name, n in (("voters", 20_000), ("candidates", 10_000)):
        arrays = {"embeddings": rng.normal(size=(n, 256)).astype(np.float32)}
        write_arrays(folder / name, arrays | {"labels": np.arange(n) % 10})
    voters, candidates = Shards(folder / "voters"), Shards(folder / "candidates")
    mine, bare = [], []
    for _ in range(5):
        start = time.perf_counter()
        counted = voting.count_votes(voters, candidates)
        mine.append(time.perf_counter() - start)
        x, z = voters["embeddings"], candidates["embeddings"]
        found = np.zeros(len(z), np.int64)
        queries = [x[np.arange(len(x)) % 10 == c] for c in range(10)]
        bases = [z[np.arange(len(z)) % 10 == c] for c in range(10)]
        start = time.perf_counter()
        for c in range(10):
            index = faiss.IndexFlatL2(256)
            index.add(bases[c])
            rows = index.search(queries[c], 1)[1]
            found[c::10] = np.bincount(rows[:, 0], minlength=len(bases[c]))
        bare.append(time.perf_counter() - start)
        assert np.array_equal(found, counted)
    return float(np.median(mine) / np.median(bare))


def main() -> None:
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(10), 1000)
    images = TextSimulator(DIGITS, SETTINGS).random(labels, rng).images
    with TemporaryDirectory() as name:
        folder = Path(name)
        for size in (N, 10_000):
            rows = np.sort(rng.permutation(len(labels))[:size])
            arrays = {"embeddings": encode_pixels(images[rows]), "labels": labels[rows]}
            write_arrays(folder / f"private{size}", arrays)
        start = time.perf_counter()
        ours(folder, folder / f"private{N}", N, L, Clock())
        mine = time.perf_counter() - start
        rows = np.sort(rng.permutation(len(labels))[:N])
        start = time.perf_counter()
        baseline(images[rows], labels[rows])
        theirs = time.perf_counter() - start
        print(
            f"33,000 renders, T = 2: {mine:6.2f} s, baseline {theirs:6.2f} s, ×{theirs / mine:.1f}"
        )

        clock = Clock()
        start = time.perf_counter()
        ours(folder, folder / "private10000", 10_000, 8, clock)
        total = time.perf_counter() - start
        rest = total - sum(clock.seconds.values())
        parts = ", ".join(
            f"{name} {seconds / total:.1%}" for name, seconds in clock.seconds.items()
        )
        print(f"N = 10,000, L = 8: {parts}, everything else {rest / total:.1%}")
        print(f"votes / bare faiss search: ×{votes_against_bare_search(folder):.2f}")


if __name__ == "__main__":
    main()
