"""Resizing for Inception: in batches, and one image at a time as others do.

    python benchmarks/resizing.py

The baseline is what Microsoft's implementation of Private Evolution does for a batch: each image
is resized by clean-fid's PIL resizer to its own size, then to 299 × 299, and all are stacked. Both
sides give the same float32 batch, on one CPU thread. Medians of CPU seconds over repeats that take
turns; only the ratios mean anything, on the machine and at the load of that session.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from cleanfid.resize import build_resizer, make_resizer

sys.path.insert(0, str(Path(__file__).parents[1]))

from workflow_scripts.resizing import resize_batch

REPEATS = 9
BATCH = 100
SIZE = 299
CPU = torch.device("cpu")


def one_by_one(images: np.ndarray) -> torch.Tensor:
    """The baseline."""
    own = make_resizer("PIL", False, "bicubic", images.shape[1:3])
    clean = build_resizer("clean")
    resized = np.stack([clean(own(image)) for image in images])
    return torch.from_numpy(resized.transpose(0, 3, 1, 2))


def interpolated(images: np.ndarray) -> torch.Tensor:
    """torch's own filter, for comparison: also PIL's kernel, but computed in float32."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float()
    x = torch.nn.functional.interpolate(x, (SIZE, SIZE), mode="bicubic", antialias=True)
    return x.clamp_(0, 255)


def milliseconds(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median per image; the ways take turns, so that load falls on all alike."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.process_time()
            way()
            times[name].append(1000 * (time.process_time() - start) / BATCH)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    torch.set_num_threads(1)
    for size in (32, 64, 128):
        images = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
        expected, room = one_by_one(images), torch.empty((BATCH, 3, SIZE, SIZE))
        found = milliseconds(
            {
                "one by one": lambda images=images: one_by_one(images),
                "torch": lambda images=images: interpolated(images),
                "batch": lambda images=images: resize_batch(images, SIZE, CPU),
                "batch, as encoders call it": lambda images=images, room=room: resize_batch(
                    images, SIZE, CPU, out=room
                ),
            }
        )
        results = {"torch": interpolated(images), "batch": resize_batch(images, SIZE, CPU)}
        error = {name: float((way - expected).abs().max()) for name, way in results.items()}
        for name, value in found.items():
            ratio = found["one by one"] / value
            differs = f"differs by {error[name]:.5f} of 255" if name in error else ""
            print(f"{size:4d} px  {name:27s} {value:6.3f} ms/image  ×{ratio:5.2f}  {differs}")


if __name__ == "__main__":
    main()
