"""Neighbours in an image pool: this project's search against faiss, and what a lookahead costs.

    python benchmarks/image_pool.py [images] [threads]

The baseline is faiss's exact index held in memory, with as many threads; faiss ranks by rounded
float32 distances, the search here by float64. Medians of repeated runs, side by side in one
session; only the ratios mean anything, on the machine and at the load of that session.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

IMAGES = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
THREADS = sys.argv[2] if len(sys.argv) > 2 else "2"
os.environ["OPENBLAS_NUM_THREADS"] = THREADS

import faiss  # noqa: E402 — after the number of threads
import numpy as np  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))

from workflow_scripts.files import open_arrays, write_arrays, write_rows  # noqa: E402
from workflow_scripts.generators.neighbours import nearest_rows  # noqa: E402
from workflow_scripts.generators.pool import ImagePool  # noqa: E402

REPEATS = 3
ASKED = 500
LOOKAHEAD = 8


def compare(searches: dict[str, Callable]) -> dict[str, float]:
    """Median seconds of each; the repeats take turns, so that load falls on all alike."""
    times: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(REPEATS):
        for name, search in searches.items():
            start = time.perf_counter()
            search()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def embeddings_of(dimension: int):
    """Non-negative features of 32 intrinsic dimensions, as a network's last layer gives them."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((32, dimension), dtype=np.float32) / 8
    for start in range(0, IMAGES, 10_000):
        n = min(10_000, IMAGES - start)
        signal = rng.standard_normal((n, 32), dtype=np.float32) @ directions
        noise = rng.standard_normal((n, dimension), dtype=np.float32) / 10
        yield {"embeddings": np.maximum(signal + noise, 0)}


def main() -> None:
    print(f"{IMAGES} images, {ASKED} asked for at once, {THREADS} threads\n")
    print("  D     d   faiss, memory   faiss, mapped      this one   ratio  same rows")
    faiss.omp_set_num_threads(int(THREADS))
    rows = np.random.default_rng(1).choice(IMAGES, ASKED, replace=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for dimension in (64, 2048):
            path = folder / f"{dimension}.safetensors"
            write_rows(path, embeddings_of(dimension), IMAGES)
            embeddings = open_arrays(path)["embeddings"]
            index = faiss.IndexFlatL2(dimension)
            index.add(np.asarray(embeddings))
            stored = str(folder / "faiss")
            faiss.write_index(index, stored)
            mapped = faiss.read_index(stored, faiss.IO_FLAG_MMAP_IFC)
            queries, everything = embeddings[rows], np.arange(IMAGES)
            for d in (10, 100, 1000):
                found = {}

                def ours(d=d, found=found, embeddings=embeddings, everything=everything):
                    found["rows"] = nearest_rows(embeddings, rows, d, everything)

                seconds = compare(
                    {
                        "memory": lambda d=d, i=index, q=queries: i.search(q, d),
                        "mapped": lambda d=d, i=mapped, q=queries: i.search(q, d),
                        "ours": ours,
                    }
                )
                theirs = index.search(queries, d)[1]
                same = np.mean(np.sort(found["rows"]) == np.sort(theirs))
                print(
                    f"{dimension:5d} {d:5d} {seconds['memory']:13.2f} s {seconds['mapped']:13.2f} s"
                    f" {seconds['ours']:11.2f} s {seconds['ours'] / seconds['memory']:7.2f}"
                    f" {same:10.4%}"
                )
        write_arrays(folder / "images", {"images": np.zeros((IMAGES, 8, 8, 3), np.uint8)})
        files = (folder / "images", folder / "2048.safetensors")
        sim = ImagePool((), {"match_classes": False}, *files)
        parents = sim.random(np.zeros(ASKED, int), np.random.default_rng(0))
        times = []
        for i in range(LOOKAHEAD):
            start = time.perf_counter()
            sim.vary(parents, {"neighbours": 100}, np.random.default_rng(i))
            times.append(time.perf_counter() - start)
        once = times[0] / sum(times)
        print(f"\nlookahead of {LOOKAHEAD}, D = 2048, d = 100: {once:.1%} of it in the first call")


if __name__ == "__main__":
    main()
