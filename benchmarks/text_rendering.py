"""The text simulator against PIL, picture by picture, in the setting of Sim-PE's MNIST.

    python benchmarks/text_rendering.py [FOLDER OF FONTS]

RANDOM of 3,000 samples, then what an iteration asks for: 8 variations of each to look ahead and
one to go on with, from an empty cache, in blocks as the workflow makes them. The baseline opens
the font, draws the text and turns it for every picture anew. CPU seconds of one core, block by
block in turns, so that load falls on both alike; only the ratios mean anything. PIL fits the shapes
to the pixel grid first; what it draws without that is compared in tests/unit/test_text.py.
"""

import resource
import string
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from workflow_scripts.generators.population import Population  # noqa: E402 — after the path
from workflow_scripts.generators.text import TextSimulator  # noqa: E402

SIDE = 28
SETTINGS = {
    "texts": None,
    "image_size": SIDE,
    "channels": 1,
    "supersampling": 1,
    "size": (10, 29),
    "rotation": 30,
    "stroke": (0, 2),
    "shift": 0,
    "foreground": (255, 255),
    "background": (0, 0),
}
DEGREE = {"font": 0.8, "size": 5, "rotation": 9, "stroke": 1, "shift": 0}
SAMPLES, BLOCK, VARIATIONS = 3000, 500, 8 + 1


def picture(path: Path, size: int, text: str, stroke: int, rotation: int) -> np.ndarray:
    """The baseline."""
    font = ImageFont.truetype(path, size)
    image = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font, stroke_width=stroke)
    corner = ((SIDE - right + left) // 2 - left, (SIDE - bottom + top) // 2 - top)
    pen.text(corner, text, fill=255, font=font, stroke_width=stroke)
    return np.asarray(image.rotate(rotation, resample=Image.Resampling.BILINEAR))


def baseline(simulator: TextSimulator, population: Population) -> np.ndarray:
    state = population.state
    parameters = zip(
        [simulator.fonts[font] for font in state["font"]],
        state["size"].tolist(),
        [string.digits[label] for label in population.labels],
        state["stroke"].tolist(),
        state["rotation"].tolist(),
        strict=True,
    )
    return np.stack([picture(*values) for values in parameters])[..., None]


class Clock:
    """CPU seconds, ours and the baseline's."""

    def __init__(self, simulator: TextSimulator):
        self.simulator = simulator
        self.times: list[tuple[float, float]] = []

    def __call__(self, make) -> Population:
        start = time.process_time()
        population = make()
        middle = time.process_time()
        baseline(self.simulator, population)
        self.times.append((middle - start, time.process_time() - middle))
        return population

    def report(self, name: str) -> tuple[float, float]:
        ours, theirs = np.sum(self.times, axis=0)
        self.say(name, len(self.times), ours, theirs)
        self.times = []
        return ours, theirs

    @staticmethod
    def say(name: str, blocks: int, ours: float, theirs: float) -> None:
        each = 1e6 / (blocks * BLOCK)
        print(f"{name:34s} {theirs * each:6.0f} µs → {ours * each:6.0f} µs  ×{theirs / ours:5.1f}")


def main() -> None:
    fonts = sys.argv[1] if len(sys.argv) > 1 else "matplotlib"
    start = time.process_time()
    simulator = TextSimulator(string.digits, SETTINGS | {"fonts": fonts})
    opened = time.process_time() - start
    print(f"{len(simulator.fonts)} fonts, opened in {opened:.2f} s; a picture, baseline → here:")
    rng = np.random.default_rng(0)
    labels = np.resize(np.arange(10), BLOCK)
    blocks = SAMPLES // BLOCK
    clock = Clock(simulator)
    parents = [clock(lambda: simulator.random(labels, rng)) for _ in range(blocks)]
    total = np.array(clock.report("RANDOM, from an empty cache"))
    for i in range(VARIATIONS):
        for parent in parents:
            clock(lambda parent=parent: simulator.vary(parent, DEGREE, rng))
        if i in (0, VARIATIONS - 2):
            total += clock.report("VARIATION, the first" if i == 0 else "VARIATION, the next")
    total += clock.report("VARIATION, the last")
    clock.say("all", blocks * (1 + VARIATIONS), *total)
    # Parents again, as in an iteration with many more samples: every upright text is known.
    known = {**DEGREE, "font": 0, "size": 0, "stroke": 0}
    for parent in parents:
        clock(lambda parent=parent: simulator.vary(parent, known, rng))
    clock.report("VARIATION of the rotation alone")
    print(f"largest memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


if __name__ == "__main__":
    main()
