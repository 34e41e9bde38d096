"""The avatar simulator against python_avatars' own rendering, in the setting of Sim-PE's CelebA.

    python benchmarks/avatar_rendering.py

RANDOM of 2,000 samples in blocks, from an empty cache, then three times their variations. The
baselines let python_avatars write the whole SVG of every picture, rasterise it at full size with
resvg or, where it is installed, with cairosvg (the paper's choice), crop it and resize it: a part
of each block, scaled up. CPU seconds of one core, block by block in turns, so that load falls on
all alike; only the ratios mean anything.
"""

import io
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import python_avatars as pa
import resvg_py
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from workflow_scripts.generators.avatar import ATTRIBUTES, AvatarSimulator  # noqa: E402
from workflow_scripts.generators.population import Population  # noqa: E402

SIDE, CROP, DEGREE = 32, (40, 40, 224, 224), {"attributes": 0.4}
BLOCKS, BLOCK, ROUNDS = 4, 500, 1 + 3
# Pictures of a block that a baseline draws.
PART = 20


def with_resvg(svg: str) -> bytes:
    return resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True)


def with_cairo(svg: str) -> bytes:
    import cairosvg

    return cairosvg.svg2png(bytestring=svg.encode())


def baseline(population: Population, rasterise: Callable[[str], bytes]) -> np.ndarray:
    """What python_avatars draws, a picture at a time."""
    images = []
    for row in range(len(population)):
        avatar = {name: values[population.state[name][row]] for name, values in ATTRIBUTES.items()}
        svg = pa.Avatar(**avatar).render().replace(' fill=""', "")
        picture = Image.open(io.BytesIO(rasterise(svg))).convert("RGB")
        images.append(np.asarray(picture.crop(CROP).resize((SIDE, SIDE))))
    return np.stack(images)


def main() -> None:
    baselines = {"resvg, full size": with_resvg}
    if find_spec("cairosvg"):
        baselines["cairosvg, full size"] = with_cairo
    simulator = AvatarSimulator({"image_size": SIDE, "crop": CROP})
    labels = np.zeros(BLOCK, dtype=np.int64)
    times = {name: np.zeros((ROUNDS, BLOCKS)) for name in ("ours", *baselines)}
    errors = {name: [] for name in baselines}
    parents: dict[int, Population] = {}
    for turn in range(ROUNDS):
        for block in range(BLOCKS):
            rng = np.random.default_rng((turn, block))
            start = time.process_time()
            if turn == 0:
                parents[block] = simulator.random(labels, rng)
            else:
                parents[block] = simulator.vary(parents[block], DEGREE, rng)
            times["ours"][turn, block] = time.process_time() - start
            part = parents[block].take(np.s_[:PART])
            for name, rasterise in baselines.items():
                start = time.process_time()
                images = baseline(part, rasterise)
                times[name][turn, block] = (time.process_time() - start) * BLOCK / PART
                errors[name].append(np.abs(images.astype(int) - part.images).mean())
    for step, turns in {"RANDOM, empty cache": np.s_[:1], "VARIATION": np.s_[1:]}.items():
        ours = times["ours"][turns].mean() / BLOCK
        print(f"{step}: {1e3 * ours:.2f} ms a picture")
        for name in baselines:
            theirs = times[name][turns].mean() / BLOCK
            error = np.mean(errors[name])
            print(
                f"  {name:20s} {1e3 * theirs:6.2f} ms  ×{theirs / ours:5.1f}"
                f"  mean difference of {error:.1f} levels"
            )


if __name__ == "__main__":
    main()
