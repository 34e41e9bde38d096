"""The avatar simulator: its pictures against python_avatars' own, its state against their laws."""

import io
import random

import numpy as np
import pytest
import python_avatars as pa
import resvg_py
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from scipy.stats import chi2_contingency, chisquare

from workflow_scripts.configuration.generators import AvatarGenerator
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.avatar import ATTRIBUTES, AvatarSimulator
from workflow_scripts.generators.population import Population

FACE = (40, 40, 224, 224)
# The largest square of the drawing, down to its lower edge: shirts and the disc's rim are in it.
WHOLE = (0, 16, 264, 280)
# One face on which every attribute is seen, the colour of hats apart.
SEEN = {
    "style": "CIRCLE",
    "background_color": "DEFAULT",
    "top": "SHORT_FLAT",
    "hat_color": "RED",
    "eyebrows": "DEFAULT",
    "eyes": "DEFAULT",
    "nose": "DEFAULT",
    "mouth": "SMILE",
    "facial_hair": "BEARD_LIGHT",
    "skin_color": "LIGHT",
    "hair_color": "AUBURN",
    "facial_hair_color": "RED",
    "accessory": "ROUND",
    "clothing": "GRAPHIC_SHIRT",
    "clothing_color": "PINK",
    "shirt_graphic": "BEAR",
}


def simulator(image_size=8, **changes) -> AvatarSimulator:
    entry = AvatarGenerator(kind="avatar", image_size=image_size, **changes)
    return AvatarSimulator(entry.model_dump())


class Blind(AvatarSimulator):
    """Draws attributes and no pictures, for statistics over many samples."""

    def _render(self, labels, state):
        return Population(np.empty((len(labels), 0, 0, 3), np.uint8), labels, state)


SIMULATOR = simulator()
BLIND = Blind({"crop": FACE, "image_size": 8})
LABELS = np.random.default_rng(0).integers(2, size=40)
POPULATION = SIMULATOR.random(LABELS, np.random.default_rng(0))
DRAWS = 20_000


def same(a: Population, b: Population) -> bool:
    return (
        a.images.tobytes() == b.images.tobytes()
        and np.array_equal(a.labels, b.labels)
        and a.state.keys() == b.state.keys()
        and all(np.array_equal(a.state[name], b.state[name]) for name in a.state)
    )


def reference(state: dict, row: int, crop: tuple, size: int) -> np.ndarray:
    """A face as Sim-PE makes it: python_avatars' whole SVG, rasterised, cropped and resized."""
    avatar = pa.Avatar(**{name: ATTRIBUTES[name][state[name][row]] for name in ATTRIBUTES})
    # An empty fill is no colour, which browsers and cairo know, and resvg does not.
    svg = avatar.render().replace(' fill=""', "")
    png = resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True, background="#000000")
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    assert picture.size == (264, 280)
    return np.asarray(picture.crop(crop).resize((size, size), Image.Resampling.BICUBIC))


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(int) - b)


def faces(sim: AvatarSimulator, state: dict) -> Population:
    """The faces with given attributes: variations that keep everything."""
    n = len(state["style"])
    parents = Population(np.zeros((n, 1, 1, 3), np.uint8), np.zeros(n, int), state)
    return sim.vary(parents, {"attributes": 0}, np.random.default_rng(0))


def share(name: str) -> np.ndarray:
    """The probability of each value: that of the first line of `Avatar.random` that draws it."""
    values = ATTRIBUTES[name]
    law = np.full(len(values), 1 / len(values))
    if name in ("facial_hair", "accessory"):
        law /= 2
        law[[value.name for value in values].index("NONE")] += 0.5
    return law


# Pictures


def test_images_are_colour_bytes_of_the_asked_size():
    assert POPULATION.images.shape == (40, 8, 8, 3) and POPULATION.images.dtype == np.uint8
    assert np.array_equal(POPULATION.labels, LABELS) and POPULATION.labels.dtype == np.int64
    large = simulator(100).random(LABELS[:2], np.random.default_rng(0))
    assert large.images.shape == (2, 100, 100, 3)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_value_of_an_attribute_is_drawn_as_python_avatars_draws_it(name):
    names = {key: [value.name for value in values] for key, values in ATTRIBUTES.items()}
    n = len(ATTRIBUTES[name])
    state = {key: np.full(n, names[key].index(value), np.uint8) for key, value in SEEN.items()}
    if name == "hat_color":
        state["top"][:] = names["top"].index("TURBAN")
    state[name] = np.arange(n, dtype=np.uint8)
    images = faces(simulator(264, crop=WHOLE), state).images
    for row, image in enumerate(images):
        error = distance(image, reference(state, row, WHOLE, 264))
        # Layers are masked by the disc one by one: pixels of its rim differ, and no others.
        assert error.mean() < 0.15 and np.mean(error.max(axis=-1) > 30) < 0.003, names[name][row]
    # Text is not drawn, which leaves the shirt plain.
    plain = name == "shirt_graphic"
    assert len({image.tobytes() for image in images}) == n - plain


def test_a_face_is_that_of_the_whole_drawing_cropped_and_resized():
    sim = simulator(32)
    population = sim.random(np.zeros(40, int), np.random.default_rng(1))
    drawings = [reference(population.state, row, FACE, 32) for row in range(40)]
    for row, image in enumerate(population.images):
        # Edges that coincide are reduced three-fold after the layers meet, not six-fold.
        error = distance(image, drawings[row])
        assert error.mean() < 2 and error.max() < 50
        assert distance(image, drawings[row - 1]).mean() > 5  # another face is far away


def test_faces_are_neither_blank_nor_alike():
    population = simulator(32).random(np.zeros(200, int), np.random.default_rng(2))
    assert population.images.std(axis=(1, 2)).min() > 5
    assert len({image.tobytes() for image in population.images}) == 200


# RANDOM


def test_attributes_are_all_of_python_avatars_and_in_the_order_of_their_names():
    kinds = {"style": pa.AvatarStyle, "eyes": pa.EyeType, "clothing_color": pa.ClothingColor}
    for name, kind in kinds.items():
        assert list(ATTRIBUTES[name]) == sorted(kind, key=lambda value: value.name)
    assert set(ATTRIBUTES["top"]) == {*pa.HairType, *pa.HatType}
    parameters = pa.Avatar().__dict__.keys() - {"title", "shirt_text"}
    assert list(ATTRIBUTES) == [name for name in pa.Avatar().__dict__ if name in parameters]


def test_attributes_follow_the_law_of_python_avatars():
    state = BLIND.random(np.zeros(DRAWS, int), np.random.default_rng(0)).state
    assert state.keys() == ATTRIBUTES.keys()
    for name, indices in state.items():
        assert indices.dtype == np.uint8
        counts = np.bincount(indices, minlength=len(ATTRIBUTES[name]))
        # False alarm: 0.1 % for all sixteen together, one fixed seed.
        assert chisquare(counts, DRAWS * share(name)).pvalue > 1e-3 / 16, name


def test_python_avatars_itself_follows_this_law():
    random.seed(0)
    avatars = [pa.Avatar.random() for _ in range(DRAWS)]
    for name, values in ATTRIBUTES.items():
        counts = np.bincount(
            [values.index(getattr(avatar, name)) for avatar in avatars], minlength=len(values)
        )
        assert chisquare(counts, DRAWS * share(name)).pvalue > 1e-3 / 16, name


def test_equal_random_generators_give_equal_bytes_whatever_the_global_ones_do():
    random.seed(1)
    np.random.seed(1)
    again = simulator().random(LABELS, np.random.default_rng(0))
    assert same(again, POPULATION)
    assert not same(SIMULATOR.random(LABELS, np.random.default_rng(1)), POPULATION)


def test_the_class_has_no_part_in_the_drawing():
    other = SIMULATOR.random(1 - LABELS, np.random.default_rng(0))
    assert np.array_equal(other.images, POPULATION.images)


def test_no_samples():
    none = SIMULATOR.random(np.zeros(0, int), np.random.default_rng(0))
    varied = SIMULATOR.vary(none, {"attributes": 0.5}, np.random.default_rng(0))
    for population in (none, varied):
        assert population.images.shape == (0, 8, 8, 3) and population.images.dtype == np.uint8
        assert population.labels.dtype == np.int64 and population.state.keys() == ATTRIBUTES.keys()


# VARIATION


def test_degree_zero_returns_the_very_same_images():
    assert same(SIMULATOR.vary(POPULATION, {"attributes": 0}, np.random.default_rng(5)), POPULATION)


def test_degree_one_forgets_the_parent():
    parents = BLIND.random(np.zeros(DRAWS, int), np.random.default_rng(0))
    state = BLIND.vary(parents, {"attributes": 1}, np.random.default_rng(1)).state
    for name, indices in state.items():
        counts = np.bincount(indices, minlength=len(ATTRIBUTES[name]))
        assert chisquare(counts, DRAWS * share(name)).pvalue > 1e-3 / 16, name
        # In two halves: are a child's value and its parent's independent?
        half = len(ATTRIBUTES[name]) // 2
        table = np.histogram2d(parents.state[name] < half, indices < half, bins=2)[0]
        assert chi2_contingency(table).pvalue > 1e-3 / 16, name


@pytest.mark.parametrize("degree", [0.06, 0.4])
def test_each_attribute_is_drawn_anew_on_its_own_and_with_the_given_probability(degree):
    parents = BLIND.random(np.zeros(DRAWS, int), np.random.default_rng(0))
    child = BLIND.vary(parents, {"attributes": degree}, np.random.default_rng(1))
    changed = {name: child.state[name] != parents.state[name] for name in ATTRIBUTES}
    for name in ATTRIBUTES:
        expected = degree * (1 - (share(name) ** 2).sum())  # the new value may be the old one
        # Five standard errors, one fixed seed: false alarm 6e-7.
        error = np.sqrt(expected * (1 - expected) / DRAWS)
        assert abs(changed[name].mean() - expected) < 5 * error, name
    assert abs(np.corrcoef(changed["eyes"], changed["top"])[0, 1]) < 5 / np.sqrt(DRAWS)


@settings(max_examples=25, deadline=None)
@given(degree=st.floats(0, 1), seed=st.integers(0, 2**32), times=st.integers(1, 6))
def test_many_variations_stay_in_range_and_keep_the_label(degree, seed, times):
    rng = np.random.default_rng(seed)
    population = SIMULATOR.random(np.array([1, 0, 1]), rng)
    for _ in range(times):
        population = SIMULATOR.vary(population, {"attributes": degree}, rng)
        assert population.labels.tolist() == [1, 0, 1]
        for name, values in ATTRIBUTES.items():
            assert population.state[name].dtype == np.uint8
            assert population.state[name].max() < len(values)
    # A picture is a function of the state alone, wherever it stands.
    assert np.array_equal(
        faces(SIMULATOR, population.take(np.s_[::-1]).state).images[::-1], population.images
    )


# Configuration


def test_the_configuration_opens_the_simulator():
    entry = AvatarGenerator(kind="avatar", image_size=8)
    assert entry.crop == FACE and (entry.image.size, entry.image.channels) == (8, 3)
    again = open_generator(entry.model_dump(), ("Female", "Male")).random(
        LABELS, np.random.default_rng(0)
    )
    assert same(again, POPULATION)


@pytest.mark.parametrize(
    ("crop", "allowed"),
    [
        ((40, 40, 224, 223), "a square"),
        ((40, 40, 40, 40), "not empty"),
        ((81, 90, 265, 274), r"\[0, 0, 264, 280\]"),
        ((10, 97, 194, 281), r"\[0, 0, 264, 280\]"),
    ],
)
def test_a_crop_that_cannot_be_is_refused(crop, allowed):
    with pytest.raises(ValidationError, match=rf"crop: found .*{crop[3]}\]; allowed: .*{allowed}"):
        AvatarGenerator(kind="avatar", image_size=8, crop=crop)
