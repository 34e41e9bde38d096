"""The text simulator: its images against PIL, its state against its ranges."""

import string

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from scipy.stats import chisquare

from workflow_scripts.generators import open_generator
from workflow_scripts.generators.fonts import FontProblem, matplotlib_font_folder
from workflow_scripts.generators.population import Population
from workflow_scripts.generators.text import TextSimulator

DIGITS = tuple(string.digits)
RANGES = {"size": (24, 40), "rotation": 30, "stroke": (0, 3), "shift": 4}
STILL = {"font": 0, "size": 0, "rotation": 0, "stroke": 0, "shift": 0}


def simulator(texts=DIGITS, image_size=8, supersampling=4, fonts="matplotlib", **ranges):
    return TextSimulator(texts, image_size, supersampling, str(fonts), **(RANGES | ranges))


SIMULATOR = simulator()
LABELS = np.repeat(np.arange(10), 20)
POPULATION = SIMULATOR.random(LABELS, np.random.default_rng(0))


def same(a: Population, b: Population) -> bool:
    return (
        np.array_equal(a.images, b.images)
        and np.array_equal(a.labels, b.labels)
        and a.state.keys() == b.state.keys()
        and all(np.array_equal(a.state[name], b.state[name]) for name in a.state)
    )


def redrawn(sim: TextSimulator, text: str, state: dict, row: int) -> np.ndarray:
    """A sample drawn again on a wide canvas: turned about the middle, moved by cropping."""
    font, size, angle, stroke, dx, dy = (
        int(state[name][row])
        for name in ("font", "size", "rotation", "stroke", "shift_x", "shift_y")
    )
    side = sim.image_size * sim.supersampling
    image = Image.new("L", (3 * side, 3 * side))
    pen = ImageDraw.Draw(image)
    face = ImageFont.truetype(str(sim.fonts[font]), size)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=face, stroke_width=stroke)
    corner = (1.5 * side - (left + right) / 2, 1.5 * side - (top + bottom) / 2)
    pen.text(corner, text, fill=255, font=face, stroke_width=stroke)
    turned = image.rotate(angle, resample=Image.Resampling.BILINEAR)
    window = turned.crop((side - dx, side - dy, 2 * side - dx, 2 * side - dy))
    k = sim.supersampling
    squares = np.asarray(window, float).reshape(sim.image_size, k, sim.image_size, k)
    return np.floor(squares.mean(axis=(1, 3)) + 0.5)


# RANDOM


def test_images_are_grey_bytes_of_the_asked_size():
    assert POPULATION.images.shape == (200, 8, 8, 1) and POPULATION.images.dtype == np.uint8
    large = simulator(image_size=28, supersampling=1).random(LABELS[:3], np.random.default_rng(0))
    assert large.images.shape == (3, 28, 28, 1)
    assert np.array_equal(POPULATION.labels, LABELS) and POPULATION.labels.dtype == np.int64


def test_equal_random_generators_give_equal_images():
    assert same(POPULATION, simulator().random(LABELS, np.random.default_rng(0)))
    assert not same(POPULATION, SIMULATOR.random(LABELS, np.random.default_rng(1)))


@pytest.mark.parametrize("texts", [DIGITS, ("x", "Qy"), tuple("gjW")])
def test_an_image_is_its_label_drawn_with_its_parameters(texts):
    # Small enough that nothing reaches the canvas' edge, where the two ways of cutting differ.
    sim = simulator(texts, image_size=16, supersampling=4, size=(20, 30), rotation=180, shift=8)
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(texts)), 12))
    population = sim.random(labels, np.random.default_rng(2))
    population = sim.vary(population, STILL | {"shift": 2, "font": 0.5}, np.random.default_rng(3))
    for row, label in enumerate(labels):
        drawings = [redrawn(sim, text, population.state, row) for text in texts]
        differences = [np.abs(population.images[row, :, :, 0] - d).max() for d in drawings]
        # Rounding at the last bit of the bilinear weights may differ by one grey level.
        assert differences.pop(label) <= 1
        assert min(differences) > 20


def test_an_untouched_text_is_in_the_middle_and_white():
    sim = simulator(supersampling=1, image_size=64, rotation=0, stroke=(0, 0), shift=0)
    population = sim.random(np.repeat(np.arange(10), 10), np.random.default_rng(0))
    for image in population.images[..., 0]:
        rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        assert abs((rows[0] + rows[-1]) / 2 - 31.5) <= 1
        # The width includes the blank sides of a character.
        assert abs((columns[0] + columns[-1]) / 2 - 31.5) <= 4
        assert image.max() > 200


def test_parameters_are_uniform_over_their_ranges_ends_included():
    sim = simulator(image_size=4, supersampling=1, size=(8, 12), stroke=(1, 2), shift=0, rotation=2)
    state = sim.random(np.zeros(20_000, int), np.random.default_rng(0)).state
    expected = {"font": range(len(sim.fonts)), "size": range(8, 13), "rotation": range(-2, 3)}
    expected |= {"stroke": range(1, 3), "shift_x": range(1), "shift_y": range(1)}
    assert state.keys() == expected.keys()
    for name, values in expected.items():
        found, counts = np.unique(state[name], return_counts=True)
        assert found.tolist() == list(values), name
        # False alarm: 1e-6 for each of four, one fixed seed.
        assert len(values) == 1 or chisquare(counts).pvalue > 1e-6, name
    assert abs(np.corrcoef(state["size"], state["rotation"])[0, 1]) < 5 / np.sqrt(20_000)


# VARIATION

degrees = st.fixed_dictionaries(
    {"font": st.floats(0, 1)}
    | {name: st.integers(0, 60) for name in ("size", "rotation", "stroke", "shift")}
)


@settings(max_examples=40, deadline=None)
@given(degree=degrees, seed=st.integers(0, 2**32), times=st.integers(1, 8))
def test_many_variations_stay_in_range_and_keep_the_label(degree, seed, times):
    rng = np.random.default_rng(seed)
    population = SIMULATOR.random(np.array([3, 1, 4, 1, 5]), rng)
    limits = {"font": (0, len(SIMULATOR.fonts) - 1), "size": (24, 40), "rotation": (-30, 30)}
    limits |= {"stroke": (0, 3), "shift_x": (-4, 4), "shift_y": (-4, 4)}
    for _ in range(times):
        parent, population = population, SIMULATOR.vary(population, degree, rng)
        assert population.labels.tolist() == [3, 1, 4, 1, 5]
        assert population.state.keys() == limits.keys()
        for name, (low, high) in limits.items():
            values = population.state[name]
            assert values.min() >= low and values.max() <= high, name
            if name != "font":
                reach = degree[name.split("_")[0]]
                assert np.abs(values - parent.state[name]).max() <= reach, name


def test_degree_zero_returns_the_very_same_images():
    assert same(SIMULATOR.vary(POPULATION, STILL, np.random.default_rng(5)), POPULATION)


@pytest.mark.parametrize("name", ["size", "rotation", "stroke", "shift"])
def test_a_degree_moves_its_own_parameter_both_ways_and_no_other(name):
    sim = simulator(size=(20, 60), rotation=90, stroke=(0, 8), shift=20)
    middle = {"font": 0, "size": 40, "rotation": 0, "stroke": 4, "shift_x": 0, "shift_y": 0}
    state = {key: np.full(200, value) for key, value in middle.items()}
    parent = Population(np.zeros((200, 8, 8, 1), np.uint8), np.zeros(200, int), state)
    child = sim.vary(parent, STILL | {name: 2}, np.random.default_rng(0))
    for key in middle:
        steps = set((child.state[key] - middle[key]).tolist())
        # Five values in 200 draws: one is never drawn with probability 5 × 0.8²⁰⁰ < 1e-18.
        assert steps == ({-2, -1, 0, 1, 2} if key.startswith(name) else {0}), key
    if name == "shift":
        assert np.any(child.state["shift_x"] != child.state["shift_y"])


def test_the_font_is_drawn_anew_with_the_given_probability():
    parent = POPULATION.take(np.repeat(np.arange(200), 10))
    child = SIMULATOR.vary(parent, STILL | {"font": 0.3}, np.random.default_rng(0))
    share = np.mean(child.state["font"] != parent.state["font"])
    expected = 0.3 * (1 - 1 / len(SIMULATOR.fonts))  # the new font may be the old one
    # Five standard errors, one fixed seed: false alarm 6e-7.
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / len(parent))


@pytest.mark.parametrize(
    "steps",
    [
        {"font": (0.2, 0.5, 1)},
        {"size": (1, 4, 12)},
        {"rotation": (3, 12, 40)},
        {"stroke": (1, 2, 3)},
        {"shift": (1, 2, 4)},
    ],
    ids=lambda steps: next(iter(steps)),
)
def test_a_larger_degree_changes_the_images_more_on_average(steps):
    ((name, sizes),) = steps.items()
    parent = POPULATION.take(np.repeat(np.arange(200), 3))
    changes = [0.0]
    for size in sizes:
        child = SIMULATOR.vary(parent, STILL | {name: size}, np.random.default_rng(0))
        changes.append(np.abs(child.images.astype(float) - parent.images).mean())
    assert np.all(np.diff(changes) > 0.1 * changes[-1]), changes


def test_variation_leaves_its_parents_alone():
    before = POPULATION.take(np.arange(200))
    strong = {"font": 1, "size": 9, "rotation": 30, "stroke": 3, "shift": 4}
    varied = SIMULATOR.vary(POPULATION, strong, np.random.default_rng(0))
    assert same(POPULATION, before) and not same(varied, before)


# Edges


def test_zero_rows_work():
    none = SIMULATOR.random(LABELS[:0], np.random.default_rng(0))
    for population in (none, SIMULATOR.vary(none, STILL, np.random.default_rng(0))):
        assert len(population) == 0 and population.images.shape == (0, 8, 8, 1)
        assert population.images.dtype == np.uint8 and population.labels.dtype == np.int64
        assert same(SIMULATOR.vary(population, STILL, np.random.default_rng(0)), population)


def test_a_character_that_draws_nothing_is_a_problem_that_names_it(tmp_path):
    path = tmp_path / "hollow.ttf"
    with TTFont(matplotlib_font_folder() / "cmtt10.ttf") as font:
        name = font.getBestCmap()[ord("7")]
        font["glyf"][name] = font["glyf"][font.getBestCmap()[ord(" ")]]
        font.save(path)
    sim = simulator(fonts=tmp_path)
    sim.random(np.array([6, 8]), np.random.default_rng(0))
    with pytest.raises(FontProblem) as problem:
        sim.random(np.array([6, 7]), np.random.default_rng(0))
    assert str(path) in str(problem.value) and "'7'" in str(problem.value)


def test_an_entry_of_the_catalogue_opens_the_same_simulator():
    entry = RANGES | {"kind": "text", "image_size": 8, "supersampling": 4, "fonts": "matplotlib"}
    sim = open_generator(entry | {"block_size": 500}, DIGITS)
    assert same(sim.random(LABELS, np.random.default_rng(0)), POPULATION)


def test_an_unknown_kind_of_generator_is_named():
    with pytest.raises(ValueError, match="avatar"):
        open_generator({"kind": "avatar"}, DIGITS)
