"""Discs, squares and crosses: a generator of one's own, small enough to read at once."""

import numpy as np

from workflow_scripts.generators.population import Population


def disc(x, y, radius):
    return np.hypot(x, y) - radius


def square(x, y, radius):
    return np.maximum(abs(x), abs(y)) - radius


def cross(x, y, radius):
    return np.maximum(square(x, y, radius), np.minimum(abs(x), abs(y)) - radius / 3)


# How far outside of its outline a point is, in pixels; negative within.
OUTLINES = {"disc": disc, "square": square, "cross": cross}


class Shapes:
    """Light shapes on black: RANDOM draws place, radius and grey level, VARIATION moves them."""

    def __init__(self, classes, size, radius=(2, 5)):
        unknown = [name for name in classes if name not in OUTLINES]
        if unknown:
            raise ValueError(f"cannot draw {unknown}, only {list(OUTLINES)}")
        self.outlines = [OUTLINES[name] for name in classes]
        self.size = size
        # The feasible range of every parameter.
        place = (radius[1], size - radius[1])
        self.ranges = {"x": place, "y": place, "radius": radius, "level": (96, 255)}

    def random(self, labels, rng):
        state = {
            name: rng.uniform(low, high, size=len(labels))
            for name, (low, high) in self.ranges.items()
        }
        return self._draw(labels, state)

    def vary(self, population, degree, rng):
        reach = {"x": "place", "y": "place", "radius": "radius", "level": "level"}
        state = {}
        for name, (low, high) in self.ranges.items():
            step = degree[reach[name]] * rng.uniform(-1, 1, size=len(population))
            state[name] = np.clip(population.state[name] + step, low, high)
        return self._draw(population.labels, state)

    def _draw(self, labels, state):
        images = np.empty((len(labels), self.size, self.size, 1), np.uint8)
        y, x = np.mgrid[: self.size, : self.size] + 0.5  # the middles of the pixels
        for row, label in enumerate(labels):
            outside = self.outlines[label](
                x - state["x"][row], y - state["y"][row], state["radius"][row]
            )
            covered = np.clip(0.5 - outside, 0, 1)
            images[row, :, :, 0] = np.round(state["level"][row] * covered)
        return Population(images, np.asarray(labels, np.int64), state)
