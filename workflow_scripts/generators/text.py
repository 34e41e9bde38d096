"""The text simulator of Sim-PE (arXiv 2502.05505): images of rendered characters.

RANDOM draws font, size, rotation, stroke width and shift uniformly from their ranges; VARIATION
moves each of them by a bounded random step. What a sample was drawn with travels with it as state,
so a variation starts from its parent's parameters, not from its pixels.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from workflow_scripts.generators.fonts import FontProblem, find_fonts
from workflow_scripts.generators.population import Population

PARAMETERS = ("font", "size", "rotation", "stroke", "shift_x", "shift_y")


class TextSimulator:
    """White characters on black, drawn on a canvas and reduced to the image size.

    Parameters
    ----------
    texts : sequence of str
        What to draw for each label.
    image_size : int
        Height and width of the images, in pixels.
    supersampling : int
        The canvas has `image_size * supersampling` pixels a side; sizes, strokes and shifts are in
        canvas pixels. Reduction averages squares, as in the scanning of small bitmaps.
    fonts : str
        `matplotlib` or a folder of font files.
    size, stroke : (int, int)
        Smallest and largest font size and stroke width.
    rotation, shift : int
        Largest rotation (degrees) and shift (canvas pixels) to either side.
    """

    def __init__(
        self,
        texts: Sequence[str],
        image_size: int,
        supersampling: int,
        fonts: str,
        size: tuple[int, int],
        rotation: int,
        stroke: tuple[int, int],
        shift: int,
    ):
        self.texts = tuple(texts)
        self.image_size = image_size
        self.supersampling = supersampling
        self.fonts = find_fonts(fonts, self.texts)
        # The feasible range of each parameter, both ends included.
        self.ranges = {
            "font": (0, len(self.fonts) - 1),
            "size": tuple(size),
            "rotation": (-rotation, rotation),
            "stroke": tuple(stroke),
            "shift_x": (-shift, shift),
            "shift_y": (-shift, shift),
        }

    def random(self, labels: np.ndarray, rng: np.random.Generator) -> Population:
        """RANDOM: one image per label (int64 [N]), parameters uniform over their ranges."""
        state = {
            name: rng.integers(low, high, size=len(labels), endpoint=True)
            for name, (low, high) in self.ranges.items()
        }
        return self._render(labels, state)

    def vary(
        self, population: Population, degree: Mapping[str, float], rng: np.random.Generator
    ) -> Population:
        """VARIATION: one image per sample, each parameter a bounded step away from its parent's.

        Parameters
        ----------
        degree : mapping
            `font`: the probability that the font is drawn anew. `size`, `rotation`, `stroke`,
            `shift`: the largest step, in the parameter's unit. Larger is a stronger variation; 0
            keeps the parent's value.
        """
        n = len(population)
        state = {}
        for name, (low, high) in self.ranges.items():
            parent = population.state[name]
            if name == "font":
                drawn = rng.integers(low, high, size=n, endpoint=True)
                state[name] = np.where(rng.random(n) < degree["font"], drawn, parent)
            else:
                reach = int(degree[name.removesuffix("_x").removesuffix("_y")])
                step = rng.integers(-reach, reach, size=n, endpoint=True)
                state[name] = np.clip(parent + step, low, high)
        return self._render(population.labels, state)

    def _render(self, labels: np.ndarray, state: dict[str, np.ndarray]) -> Population:
        images = np.empty((len(labels), self.image_size, self.image_size, 1), dtype=np.uint8)
        columns = [state[name].tolist() for name in PARAMETERS]
        for row, (label, *parameters) in enumerate(zip(labels.tolist(), *columns, strict=True)):
            images[row, :, :, 0] = self._draw(label, *parameters)
        return Population(images, np.asarray(labels, dtype=np.int64), state)

    def _draw(
        self, label: int, font: int, size: int, rotation: int, stroke: int, dx: int, dy: int
    ) -> np.ndarray:
        canvas = self.image_size * self.supersampling
        upright = _upright(str(self.fonts[font]), size, stroke, self.texts[label], canvas)
        turned = upright.rotate(rotation, resample=Image.Resampling.BILINEAR, translate=(dx, dy))
        return np.asarray(turned.reduce(self.supersampling))


@lru_cache(maxsize=65536)
def _upright(path: str, size: int, stroke: int, text: str, canvas: int) -> Image.Image:
    """The text in the middle of a square canvas: the costly part of a render, shared by many."""
    font = _font(path, size)
    left, top, right, bottom = font.getbbox(text, stroke_width=stroke)
    image = Image.new("L", (canvas, canvas))
    corner = ((canvas - right - left) / 2, (canvas - bottom - top) / 2)
    ImageDraw.Draw(image).text(corner, text, fill=255, font=font, stroke_width=stroke)
    if image.getbbox() is None:
        # An empty picture under a label would be a wrong label.
        raise FontProblem(f"{path}: drew nothing for {text!r} at size {size}")
    return image


@lru_cache(maxsize=4096)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)
