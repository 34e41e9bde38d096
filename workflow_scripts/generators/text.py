"""The text simulator of Sim-PE (arXiv 2502.05505): images of rendered characters.

RANDOM draws text, font, size, rotation, stroke width, shift and colours uniformly from their
ranges; VARIATION draws text and font anew with some probability and moves the others by a bounded
random step. What a sample was drawn with travels with it as state, so a variation starts from its
parent's parameters, not from its pixels.

Pictures are drawn from the outlines of the characters: see `generators.outlines`.
"""

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from workflow_scripts.generators.fonts import find_fonts, font_files
from workflow_scripts.generators.outlines import Pen
from workflow_scripts.generators.population import Population
from workflow_scripts.problems import Problem

# Drawn anew with a probability; every other parameter moves by steps.
REDRAWN = ("font", "text")
COLOURS = ("foreground", "background")
# The degree of a parameter that is not called like it.
DEGREES = {
    "shift_x": "shift",
    "shift_y": "shift",
    "foreground": "colour",
    "background": "colour",
}
# How many levels (of 255) some pixel must differ from the background: an eighth of full ink.
INK = 32
# RANDOM gives up after so many pictures without ink.
ATTEMPTS = 100


class TextProblem(Problem):
    """A class without texts, or a text that leaves no ink; the message names it."""


class TextSimulator:
    """Text in the middle of a plain ground.

    Sizes, strokes and shifts are in pixels of a canvas of `image_size * supersampling` a side: as
    if the text were drawn there and reduced to the image size.

    Parameters
    ----------
    classes : sequence of str
        The class of every label.
    settings : mapping
        A text entry of generators.yaml, with all its keys (`TextGenerator`).

    Raises
    ------
    FontProblem
        If there is no font that can draw all the texts.
    TextProblem
        If a class has no texts.
    """

    def __init__(self, classes: Sequence[str], settings: Mapping):
        lists = _texts_of(classes, settings["texts"])
        self.texts = tuple(dict.fromkeys(chain(*lists)))
        self.fonts = find_fonts(settings["fonts"], self.texts)
        left_out = sorted({*font_files(settings["fonts"])} - {*self.fonts})
        if left_out:
            names = ", ".join(file.name for file in left_out)
            print(f"fonts left out, because they cannot draw all of the texts: {names}")
        # texts[text_ids[label, text]] is drawn; a label has `choices[label]` of them.
        self.choices = np.array([len(texts) for texts in lists])
        self.text_ids = np.zeros((len(lists), self.choices.max(initial=0)), dtype=np.int64)
        ids = {text: i for i, text in enumerate(self.texts)}
        for label, texts in enumerate(lists):
            self.text_ids[label, : len(texts)] = [ids[text] for text in texts]

        self.image_size = settings["image_size"]
        self.channels = settings["channels"]
        self.supersampling = settings["supersampling"]
        rotation, shift = settings["rotation"], settings["shift"]
        # The feasible range of each parameter but the text, both ends included.
        self.ranges = {
            "font": (0, len(self.fonts) - 1),
            "size": tuple(settings["size"]),
            "rotation": (-rotation, rotation),
            "stroke": tuple(settings["stroke"]),
            "shift_x": (-shift, shift),
            "shift_y": (-shift, shift),
            "foreground": tuple(settings["foreground"]),
            "background": tuple(settings["background"]),
        }
        self._pen = Pen(self.fonts, self.image_size, longest=max(map(len, self.texts)))

    def random(self, labels: np.ndarray, rng: np.random.Generator) -> Population:
        """RANDOM: one image per label (int64 [N]), parameters uniform over their ranges.

        A picture without ink is drawn again with other parameters.

        Raises
        ------
        TextProblem
            If a text still has no ink after many attempts.
        """
        population = self._render(labels, self._uniform(labels, rng))
        for _ in range(ATTEMPTS):
            blank = _blank(population)
            if not len(blank):
                return population
            again = population.labels[blank]
            _put(population, blank, self._render(again, self._uniform(again, rng)))
        label, text = population.labels[blank[0]], population.state["text"][blank[0]]
        raise TextProblem(
            f"text {self.texts[self.text_ids[label, text]]!r}: {ATTEMPTS} pictures without ink; "
            f"allowed: sizes for a canvas of {self.image_size * self.supersampling} pixels, and "
            f"colours that differ by {INK} levels"
        )

    def vary(
        self, population: Population, degree: Mapping[str, float], rng: np.random.Generator
    ) -> Population:
        """VARIATION: one image per sample, each parameter a bounded step away from its parent's.

        A sample whose picture would have no ink stays as its parent.

        Parameters
        ----------
        degree : mapping
            `font`, `text`: the probability that it is drawn anew. `size`, `rotation`, `stroke`,
            `shift`, `colour`: the largest step, in the parameter's unit. Larger is a stronger
            variation; 0 keeps the parent's value. `text` and `colour` may be absent.
        """
        degree = {"text": 0, "colour": 0, **degree}
        state = {}
        for name, (low, high) in self._ranges(population.labels).items():
            parent, reach = population.state[name], degree[DEGREES.get(name, name)]
            if name in REDRAWN:
                drawn = rng.integers(low, high, size=parent.shape, endpoint=True)
                state[name] = np.where(rng.random(len(parent)) < reach, drawn, parent)
            else:
                step = rng.integers(-int(reach), int(reach), size=parent.shape, endpoint=True)
                state[name] = np.clip(parent + step, low, high)
        varied = self._render(population.labels, state)
        blank = _blank(varied)
        _put(varied, blank, population.take(blank))
        return varied

    def _ranges(self, labels: np.ndarray) -> dict:
        # The text comes last: what is drawn before does not depend on whether there is a choice.
        return {**self.ranges, "text": (0, self.choices[labels] - 1)}

    def _uniform(self, labels: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        n = len(labels)
        return {
            name: rng.integers(
                low, high, size=(n, self.channels) if name in COLOURS else n, endpoint=True
            )
            for name, (low, high) in self._ranges(labels).items()
        }

    def _render(self, labels: np.ndarray, state: dict[str, np.ndarray]) -> Population:
        labels = np.asarray(labels, dtype=np.int64)
        texts = [self.texts[i] for i in self.text_ids[labels, state["text"]].tolist()]
        size, stroke, x, y = (
            (state[name] / self.supersampling).tolist()
            for name in ("size", "stroke", "shift_x", "shift_y")
        )
        font, rotation = state["font"].tolist(), state["rotation"].tolist()
        coverage = self._pen.draw(texts, font, size, stroke, rotation, x, y)
        images = _coloured(coverage, *(state[name] for name in COLOURS))
        return Population(images, labels, state)


def _texts_of(classes: Sequence[str], texts: Sequence | Mapping | None) -> list[Sequence[str]]:
    """What may be drawn for each label."""
    if texts is None:
        return [(name,) for name in classes]
    if not isinstance(texts, Mapping):
        return [texts] * len(classes)
    for name in classes:
        if name not in texts:
            raise TextProblem(f"texts: none for class {name!r}; found {', '.join(texts)}")
    return [texts[name] for name in classes]


def _coloured(coverage: np.ndarray, foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Text over ground: coverage uint8 [N, H, W] and colours [N, C] to uint8 [N, H, W, C]."""
    ink = coverage[..., None].astype(np.uint16)
    foreground, background = (
        colour.astype(np.uint16)[:, None, None] for colour in (foreground, background)
    )
    return ((foreground * ink + background * (255 - ink) + 127) // 255).astype(np.uint8)


def _blank(population: Population) -> np.ndarray:
    """Rows of the pictures without ink, which would be wrong under any label."""
    images, ground = population.images, population.state["background"]
    contrast = np.maximum(images.max(axis=(1, 2)) - ground, ground - images.min(axis=(1, 2)))
    return np.flatnonzero(contrast.max(axis=1) < INK)


def _put(population: Population, rows: np.ndarray, others: Population) -> None:
    """Replace samples in place."""
    population.images[rows] = others.images
    for name, values in others.state.items():
        population.state[name][rows] = values
