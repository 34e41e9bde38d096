"""The text simulator: its images against PIL, its state against its ranges."""

import string

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from pydantic import ValidationError
from scipy.stats import chisquare

from workflow_scripts.configuration.generators import CONTRAST, TextGenerator
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.outlines import Pen
from workflow_scripts.generators.population import Population
from workflow_scripts.generators.text import INK, TextProblem, TextSimulator

DIGITS = tuple(string.digits)
STILL = {"font": 0, "size": 0, "rotation": 0, "stroke": 0, "shift": 0, "text": 0, "colour": 0}
ENTRY = {
    "kind": "text",
    "image_size": 8,
    "supersampling": 4,
    "size": (24, 40),
    "rotation": 30,
    "stroke": (0, 3),
    "shift": 4,
}
# Pixels of the oracle in one of the simulator's.
FINE = 16


def simulator(classes=DIGITS, **changes):
    entry = TextGenerator(**(ENTRY | changes))
    return TextSimulator(classes, entry.model_dump())


SIMULATOR = simulator()
LABELS = np.repeat(np.arange(10), 20)
POPULATION = SIMULATOR.random(LABELS, np.random.default_rng(0))
COLOURFUL = {
    "texts": {"vowel": ("a", "e", "i"), "other": ("x", "Qy"), "one": ("k",)},
    "channels": 3,
    "foreground": (150, 255),
    "background": (0, 60),
}


def same(a: Population, b: Population) -> bool:
    return (
        np.array_equal(a.images, b.images)
        and np.array_equal(a.labels, b.labels)
        and a.state.keys() == b.state.keys()
        and all(np.array_equal(a.state[name], b.state[name]) for name in a.state)
    )


def redrawn(sim: TextSimulator, text: str, state: dict, row: int) -> np.ndarray:
    """A sample drawn by PIL in `FINE` times its size, turned as a bitmap, and averaged."""
    font, size, angle, stroke, dx, dy = (
        int(state[name][row])
        for name in ("font", "size", "rotation", "stroke", "shift_x", "shift_y")
    )
    scale, side = FINE / sim.supersampling, FINE * sim.image_size
    face = ImageFont.truetype(sim.fonts[font], size * scale, layout_engine=ImageFont.Layout.BASIC)

    def drawn(width: float) -> Image.Image:
        image = Image.new("L", (3 * side, 3 * side))
        pen = ImageDraw.Draw(image)
        pen.text((side, side), text, fill=255, font=face, stroke_width=width)
        return image

    left, top, right, bottom = drawn(0).getbbox()
    x, y = (left + right) / 2, (top + bottom) / 2
    place = 1.5 * side - x + dx * scale, 1.5 * side - y + dy * scale
    turned = drawn(stroke * scale).rotate(
        angle, resample=Image.Resampling.BILINEAR, center=(x, y), translate=place
    )
    window = turned.crop((side, side, 2 * side, 2 * side))
    squares = np.asarray(window, float).reshape(sim.image_size, FINE, sim.image_size, FINE)
    return squares.mean(axis=(1, 3))


def make_font(path, boxes: dict[str, tuple[int, int]]) -> None:
    """A font of 1000 units whose characters are rectangles, given by width and height."""
    builder = FontBuilder(1000, isTTF=True)
    names = {character: f"box{ord(character)}" for character in boxes}
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap({ord(character): name for character, name in names.items()})
    glyphs = {".notdef": TTGlyphPen(None).glyph()}
    for character, (width, height) in boxes.items():
        pen = TTGlyphPen(None)
        if width and height:
            pen.moveTo((100, 0))
            for corner in ((100, height), (100 + width, height), (100 + width, 0)):
                pen.lineTo(corner)
            pen.closePath()
        glyphs[names[character]] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({name: (1000, 100) for name in glyphs})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)


# What is drawn


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(300, 900),
    height=st.integers(300, 900),
    size=st.integers(16, 20),
    stroke=st.integers(0, 4),
    angle=st.integers(-180, 180),
    shift=st.tuples(st.floats(-4, 4), st.floats(-4, 4)),
)
def test_a_rectangle_covers_its_area_around_its_middle(
    tmp_path_factory, width, height, size, stroke, angle, shift
):
    path = tmp_path_factory.mktemp("box") / "box.ttf"
    make_font(path, {"a": (width, height)})
    pen = Pen([path], 48, 1)
    (image,) = pen.draw(["a"], [0], [size], [stroke], [angle], *([s] for s in shift)) / 255.0
    w, h = width * size / 1000, height * size / 1000
    # With a round line about it (Steiner's formula).
    area = w * h + 2 * stroke * (w + h) + np.pi * stroke**2
    # FreeType cuts a curve short by a sixteenth of a pixel at most.
    assert area - 2 * np.pi * stroke / 16 - 0.5 < image.sum() < area + 0.5
    y, x = np.mgrid[:48, :48] - 23.5
    assert (image * x).sum() / image.sum() == pytest.approx(shift[0], abs=0.06)
    assert (image * y).sum() / image.sum() == pytest.approx(shift[1], abs=0.06)
    # The long side lies along the angle, counter-clockwise.
    if w > 1.5 * h:
        x, y = x - shift[0], y - shift[1]
        xx, xy, yy = ((image * product).sum() for product in (x * x, x * y, y * y))
        found = -np.degrees(np.arctan2(2 * xy, xx - yy)) / 2
        assert abs((found - angle + 90) % 180 - 90) < 2


def test_a_pixel_is_the_share_that_is_covered(tmp_path):
    make_font(tmp_path / "box.ttf", {"a": (500, 250)})
    pen = Pen([tmp_path / "box.ttf"], 8, 1)
    upright, moved, quarter, cut = pen.draw(
        ["a"] * 4, [0] * 4, [8] * 4, [0] * 4, [0, 0, 90, 0], [0, 0.5, 0, 4], [0, 0.25, 0, 4]
    )
    expected = np.zeros((8, 8))
    expected[3:5, 2:6] = 255
    assert np.array_equal(upright, expected)
    assert np.array_equal(quarter, expected.T)
    across = np.array([0, 0, 0.5, 1, 1, 1, 0.5, 0])
    down = np.array([0, 0, 0, 0.75, 1, 0.25, 0, 0])
    assert np.abs(moved - 255 * np.outer(down, across)).max() <= 1
    expected = np.zeros((8, 8))
    expected[7, 6:] = 255
    assert np.array_equal(cut, expected)


def test_characters_stand_side_by_side(tmp_path):
    make_font(tmp_path / "box.ttf", {"a": (200, 400), "b": (600, 400), " ": (0, 0)})
    pen = Pen([tmp_path / "box.ttf"], 40, 3)
    (image,) = pen.draw(["a b"], [0], [10], [0], [0], [0], [0])
    expected = np.zeros(40)
    # Both begin 100 units after their origins, which are 2 × 1000 apart; 10 pixels make 1000.
    expected[:2] = expected[20:26] = 255
    left = (40 - 26) // 2
    assert np.array_equal(image[20], np.roll(expected, left))
    assert np.array_equal(image.any(axis=1), np.abs(np.arange(40) - 19.5) < 2)


@pytest.mark.parametrize(
    ("classes", "changes", "highest"),
    [
        (DIGITS, {"stroke": (0, 0)}, 40),
        # Where a line closes a hole, a fine and a coarse drawing differ in single pixels.
        (DIGITS, {}, 100),
        (("x", "Qy"), {"image_size": 24, "size": (24, 40)}, 100),
        (
            tuple("gjW"),
            {"rotation": 180, "supersampling": 1, "size": (10, 12), "stroke": (0, 1)},
            100,
        ),
    ],
)
def test_an_image_is_its_label_drawn_with_its_parameters(classes, changes, highest):
    sim = simulator(classes, **({"image_size": 16} | changes))
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(classes)), 3))
    population = sim.random(labels, np.random.default_rng(2))
    population = sim.vary(population, STILL | {"shift": 2, "font": 0.5}, np.random.default_rng(3))
    for row, label in enumerate(labels):
        drawings = [redrawn(sim, text, population.state, row) for text in classes]
        # FreeType takes curves for lines that are up to a sixteenth of a pixel off: 16 levels.
        difference = [np.abs(population.images[row, :, :, 0] - d) for d in drawings]
        means = [d.mean() for d in difference]
        assert difference[label].max() <= highest and means[label] < 1.5
        assert means.index(min(means)) == label


def test_an_untouched_text_is_in_the_middle_and_white():
    sim = simulator(supersampling=1, image_size=64, rotation=0, stroke=(0, 0), shift=0)
    population = sim.random(np.repeat(np.arange(10), 10), np.random.default_rng(0))
    for image in population.images[..., 0]:
        rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        assert abs((rows[0] + rows[-1]) / 2 - 31.5) <= 1
        assert abs((columns[0] + columns[-1]) / 2 - 31.5) <= 1
        assert image.max() > 200


def test_supersampling_only_changes_the_unit():
    fine, coarse = simulator(), simulator(supersampling=1, size=(6, 10), stroke=(0, 0), shift=1)
    state = {"font": 3, "size": 8, "rotation": 20, "stroke": 0, "shift_x": 1, "shift_y": 0}
    state = {name: np.array([value]) for name, value in state.items()}
    state |= {"foreground": np.array([[255]]), "background": np.array([[0]]), "text": np.array([0])}
    scaled = state | {"size": np.array([32]), "shift_x": np.array([4])}
    blank, label = np.zeros((1, 8, 8, 1), np.uint8), np.array([7])
    images = [
        sim.vary(Population(blank, label, given), STILL, np.random.default_rng(0)).images
        for sim, given in ((coarse, state), (fine, scaled))
    ]
    assert np.array_equal(*images) and images[0].any()


# RANDOM


def test_images_are_grey_bytes_of_the_asked_size():
    assert POPULATION.images.shape == (200, 8, 8, 1) and POPULATION.images.dtype == np.uint8
    large = simulator(image_size=28, supersampling=1).random(LABELS[:3], np.random.default_rng(0))
    assert large.images.shape == (3, 28, 28, 1)
    assert np.array_equal(POPULATION.labels, LABELS) and POPULATION.labels.dtype == np.int64


def test_equal_random_generators_give_equal_images():
    assert same(POPULATION, simulator().random(LABELS, np.random.default_rng(0)))
    assert not same(POPULATION, SIMULATOR.random(LABELS, np.random.default_rng(1)))


def test_images_do_not_depend_on_what_was_drawn_before_or_beside():
    alone = simulator().random(LABELS[:50], np.random.default_rng(7))
    SIMULATOR.random(LABELS, np.random.default_rng(8))
    assert same(alone, SIMULATOR.random(LABELS[:50], np.random.default_rng(7)))
    order = np.random.default_rng(9).permutation(50)
    again = SIMULATOR.vary(alone.take(order), STILL, np.random.default_rng(0))
    assert same(again, alone.take(order))


def test_parameters_are_uniform_over_their_ranges_ends_included():
    sim = simulator(
        ("vowel", "other", "one"),
        image_size=4,
        supersampling=1,
        size=(8, 12),
        stroke=(1, 2),
        shift=0,
        rotation=2,
        **COLOURFUL | {"foreground": (250, 255), "background": (3, 5)},
    )
    labels = np.random.default_rng(1).integers(0, 3, 20_000)
    state = sim.random(labels, np.random.default_rng(0)).state
    expected = {"font": range(len(sim.fonts)), "size": range(8, 13), "rotation": range(-2, 3)}
    expected |= {"stroke": range(1, 3), "shift_x": range(1), "shift_y": range(1)}
    expected |= {"foreground": range(250, 256), "background": range(3, 6)}
    assert state.keys() == {*expected, "text"}
    for label, count in enumerate((3, 2, 1)):
        state[f"text of {label}"] = state["text"][labels == label]
        expected[f"text of {label}"] = range(count)
    for name, values in expected.items():
        found, counts = np.unique(state[name], return_counts=True)
        assert found.tolist() == list(values), name
        # False alarm: 1e-6 for each of eight, one fixed seed.
        assert len(values) == 1 or chisquare(counts).pvalue > 1e-6, name
    for a, b in (state["size"], state["rotation"]), state["foreground"][:, :2].T:
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(20_000)


def test_a_choice_of_texts_leaves_the_other_draws_as_they_were():
    listed = simulator(texts=("4", "7")).random(LABELS, np.random.default_rng(0))
    for name in POPULATION.state.keys() - {"text"}:
        assert np.array_equal(listed.state[name], POPULATION.state[name]), name


# Texts and colours


def test_one_list_of_texts_is_the_same_for_every_label():
    sim = simulator(("cat", "dog"), texts=DIGITS)
    population = sim.random(np.repeat([0, 1], 100), np.random.default_rng(0))
    for label in (0, 1):
        assert set(population.state["text"][population.labels == label]) == set(range(10))
    as_digits = Population(population.images, population.state["text"], POPULATION.state)
    state = population.state | {"text": np.zeros(200, int)}
    drawn = SIMULATOR.vary(
        Population(as_digits.images, as_digits.labels, state), STILL, np.random.default_rng(0)
    )
    assert np.array_equal(drawn.images, population.images)


def test_lists_by_class_follow_the_labels():
    sim = simulator(("one", "vowel"), **COLOURFUL)
    plain = simulator(("a", "e", "i", "k"), **COLOURFUL | {"texts": None})
    population = sim.random(np.repeat([0, 1], 50), np.random.default_rng(0))
    assert set(population.state["text"][:50]) == {0}
    drawn = np.where(population.labels == 0, 3, population.state["text"])
    state = population.state | {"text": np.zeros(100, int)}
    again = plain.vary(Population(population.images, drawn, state), STILL, np.random.default_rng(0))
    assert np.array_equal(again.images, population.images)


def test_a_class_without_texts_is_named():
    with pytest.raises(TextProblem, match=r"'consonant'.*vowel, other, one"):
        simulator(("vowel", "consonant"), **COLOURFUL)


def test_the_text_is_drawn_anew_with_the_given_probability():
    sim = simulator(("vowel",), **COLOURFUL)
    parent = sim.random(np.zeros(3000, int), np.random.default_rng(0))
    child = sim.vary(parent, STILL | {"text": 0.3}, np.random.default_rng(0))
    share, expected = np.mean(child.state["text"] != parent.state["text"]), 0.3 * 2 / 3
    # Five standard errors, one fixed seed: false alarm 6e-7.
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / 3000)
    for name in parent.state.keys() - {"text"}:
        assert np.array_equal(child.state[name], parent.state[name])


def test_colours_are_those_of_the_state():
    sim = simulator(("k",), supersampling=1, image_size=48, size=(30, 30), stroke=(3, 3),
                    **COLOURFUL | {"texts": None})  # fmt: skip
    population = sim.random(np.zeros(20, int), np.random.default_rng(0))
    assert population.images.shape == (20, 48, 48, 3)
    colours = population.state["foreground"], population.state["background"]
    for image, ink, ground in zip(population.images, *colours, strict=True):
        assert np.array_equal(image[0, 0], ground)
        pixels = image.reshape(-1, 3)
        assert np.all(pixels == ink, axis=1).sum() > 100
        assert np.all((pixels >= ground) & (pixels <= ink))
        # Mixtures lie on the line from one to the other.
        share = (pixels - ground.astype(float)) / (ink - ground)
        assert np.abs(share - share.mean(axis=1, keepdims=True)).max() < 0.01
    assert len(np.unique(population.state["foreground"], axis=0)) > 10


def test_black_on_white_is_the_inverse_of_white_on_black():
    inverse = simulator(foreground=(0, 0), background=(255, 255))
    population = inverse.random(LABELS, np.random.default_rng(0))
    assert np.array_equal(population.images, 255 - POPULATION.images)
    rgb = simulator(channels=3).random(LABELS, np.random.default_rng(0))
    assert np.array_equal(rgb.images, np.repeat(POPULATION.images, 3, axis=3))


# VARIATION

degrees = st.fixed_dictionaries(
    {name: st.floats(0, 1) for name in ("font", "text")}
    | {name: st.integers(0, 60) for name in ("size", "rotation", "stroke", "shift", "colour")}
)
COLOURED = simulator(("vowel", "other", "one"), **COLOURFUL)


@settings(max_examples=40, deadline=None)
@given(degree=degrees, seed=st.integers(0, 2**32), times=st.integers(1, 8))
def test_many_variations_stay_in_range_and_keep_the_label(degree, seed, times):
    rng = np.random.default_rng(seed)
    labels = np.array([2, 1, 0, 1, 2])
    population = COLOURED.random(labels, rng)
    limits = {"font": (0, len(COLOURED.fonts) - 1), "size": (24, 40), "rotation": (-30, 30)}
    limits |= {"stroke": (0, 3), "shift_x": (-4, 4), "shift_y": (-4, 4)}
    limits |= {"foreground": (150, 255), "background": (0, 60)}
    limits |= {"text": (0, np.array([2, 1, 0])[labels])}
    for _ in range(times):
        parent, population = population, COLOURED.vary(population, degree, rng)
        assert np.array_equal(population.labels, labels)
        assert population.state.keys() == limits.keys()
        for name, (low, high) in limits.items():
            values = population.state[name]
            assert np.all((values >= low) & (values <= high)), name
            assert values.shape == ((5, 3) if name.endswith("ground") else (5,))
            if name not in ("font", "text"):
                reach = degree["colour" if name.endswith("ground") else name.split("_")[0]]
                assert np.abs(values - parent.state[name]).max() <= reach, name


def test_degree_zero_returns_the_very_same_images():
    assert same(SIMULATOR.vary(POPULATION, STILL, np.random.default_rng(5)), POPULATION)
    coloured = COLOURED.random(np.arange(100) % 3, np.random.default_rng(0))
    assert same(COLOURED.vary(coloured, STILL, np.random.default_rng(5)), coloured)


def test_degrees_without_a_choice_may_be_absent():
    degree = {name: STILL[name] for name in TextGenerator(**ENTRY).degrees}
    assert degree.keys() == {"font", "size", "rotation", "stroke", "shift"}
    assert same(SIMULATOR.vary(POPULATION, degree, np.random.default_rng(5)), POPULATION)


@pytest.mark.parametrize("name", ["size", "rotation", "stroke", "shift", "colour"])
def test_a_degree_moves_its_own_parameter_both_ways_and_no_other(name):
    sim = simulator(
        size=(20, 60),
        rotation=90,
        stroke=(0, 8),
        shift=10,
        foreground=(200, 250),
        background=(0, 50),
    )
    middle = {"font": 0, "size": 40, "rotation": 0, "stroke": 4, "shift_x": 0, "shift_y": 0}
    state = {key: np.full(200, value) for key, value in (middle | {"text": 0}).items()}
    colours = {"foreground": 220, "background": 20}
    state |= {key: np.full((200, 1), value) for key, value in colours.items()}
    parent = Population(np.zeros((200, 8, 8, 1), np.uint8), np.zeros(200, int), state)
    child = sim.vary(parent, STILL | {name: 2}, np.random.default_rng(0))
    for key in state:
        steps = set((child.state[key] - state[key]).ravel().tolist())
        moved = key in colours if name == "colour" else key.startswith(name)
        # Five values in 200 draws: one is never drawn with probability 5 × 0.8²⁰⁰ < 1e-18.
        assert steps == ({-2, -1, 0, 1, 2} if moved else {0}), key
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


# Pictures without ink


@pytest.fixture
def two_fonts(tmp_path):
    """Two fonts, of which the first draws next to nothing for b."""
    make_font(tmp_path / "faint.ttf", {"a": (600, 600), "b": (2, 2)})
    make_font(tmp_path / "good.ttf", {"a": (600, 600), "b": (300, 600)})
    return str(tmp_path)


def test_a_font_without_a_shape_is_left_out_and_named(tmp_path, capsys):
    make_font(tmp_path / "hollow.ttf", {"6": (500, 500), "7": (0, 0)})
    make_font(tmp_path / "whole.ttf", {"6": (500, 500), "7": (400, 500)})
    sim = simulator(("6", "7"), fonts=str(tmp_path))
    assert [path.name for path in sim.fonts] == ["whole.ttf"]
    assert "hollow.ttf" in (printed := capsys.readouterr().out) and "whole.ttf" not in printed
    simulator(("6",), fonts=str(tmp_path))
    assert capsys.readouterr().out == ""


def test_random_draws_again_what_left_no_ink(two_fonts):
    sim = simulator(("a", "b"), fonts=two_fonts, stroke=(0, 0))
    labels = np.arange(400) % 2
    population = sim.random(labels, np.random.default_rng(0))
    assert population.images.max(axis=(1, 2, 3)).min() >= INK
    assert set(population.state["font"][labels == 0]) == {0, 1}
    assert set(population.state["font"][labels == 1]) == {1}
    assert same(population, sim.random(labels, np.random.default_rng(0)))
    # What the state says is what is seen.
    assert same(population, sim.vary(population, STILL, np.random.default_rng(0)))
    assert population.labels.tolist() == labels.tolist()


def test_a_variation_without_ink_stays_as_its_parent(two_fonts):
    sim = simulator(("a", "b"), fonts=two_fonts, stroke=(0, 0))
    parent = sim.random(np.arange(400) % 2, np.random.default_rng(0))
    child = sim.vary(parent, STILL | {"font": 1, "size": 9}, np.random.default_rng(1))
    assert child.images.max(axis=(1, 2, 3)).min() >= INK
    kept = np.flatnonzero(
        (child.labels == 1) & np.all(child.images == parent.images, axis=(1, 2, 3))
    )
    # A half of two hundred took the faint font; five standard errors.
    assert abs(len(kept) - 100) < 40
    assert np.array_equal(child.state["size"][kept], parent.state["size"][kept])
    assert set(child.state["font"][child.labels == 1]) == {1}


def test_a_text_that_never_leaves_ink_is_a_problem_that_names_it(tmp_path):
    make_font(tmp_path / "faint.ttf", {"a": (600, 600), "b": (2, 2)})
    sim = simulator(("a", "b"), fonts=str(tmp_path), stroke=(0, 0))
    sim.random(np.array([0, 0]), np.random.default_rng(0))
    with pytest.raises(TextProblem, match="'b'"):
        sim.random(np.array([0, 1]), np.random.default_rng(0))


def test_a_canvas_within_the_hole_of_a_character_is_no_picture():
    sim = simulator(("O",), supersampling=1, size=(8, 400), stroke=(0, 0), shift=0)
    population = sim.random(np.zeros(300, int), np.random.default_rng(0))
    assert population.images.max(axis=(1, 2, 3)).min() >= INK
    child = sim.vary(population, STILL | {"size": 200}, np.random.default_rng(0))
    assert child.images.max(axis=(1, 2, 3)).min() >= INK
    assert child.state["size"].max() < 100


def test_a_shape_beyond_freetypes_numbers_leaves_no_ink():
    sim = simulator(("k" * 5000,), size=(24, 24), stroke=(0, 0))
    with pytest.raises(TextProblem, match="kkk"):
        sim.random(np.array([0]), np.random.default_rng(0))
    sim = simulator(("k",), size=(2**40, 2**40), stroke=(2**35, 2**35))
    with pytest.raises(TextProblem, match="'k'"):
        sim.random(np.array([0]), np.random.default_rng(0))


# Edges


@pytest.mark.parametrize("sim", [SIMULATOR, COLOURED], ids=["plain", "coloured"])
def test_zero_rows_work(sim):
    none = sim.random(LABELS[:0], np.random.default_rng(0))
    for population in (none, sim.vary(none, STILL, np.random.default_rng(0))):
        assert len(population) == 0 and population.images.shape == (0, 8, 8, sim.channels)
        assert population.images.dtype == np.uint8 and population.labels.dtype == np.int64
        assert same(sim.vary(population, STILL, np.random.default_rng(0)), population)
        assert population.state["foreground"].shape == (0, sim.channels)


def test_an_entry_of_the_catalogue_opens_the_same_simulator():
    sim = open_generator(TextGenerator(**ENTRY).model_dump(mode="json"), DIGITS)
    assert same(sim.random(LABELS, np.random.default_rng(0)), POPULATION)


def test_an_unknown_kind_of_generator_is_named():
    with pytest.raises(ValueError, match="crystal ball"):
        open_generator({"kind": "crystal ball"}, DIGITS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": ()}, "texts"),
        ({"texts": {"a": ("x",), "b": ()}}, "texts"),
        ({"texts": ("x", " ")}, "texts"),
        ({"foreground": (100, 255), "background": (0, 69)}, "foreground.*32"),
        ({"foreground": (0, 69), "background": (100, 100)}, "foreground.*32"),
        ({"size": (30, 20)}, "size"),
        ({"shift": 16}, "shift.*16"),
    ],
)
def test_an_entry_that_could_draw_empty_pictures_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        TextGenerator(**(ENTRY | changes))


def test_the_degrees_that_are_asked_for_are_those_with_a_choice():
    assert TextGenerator(**(ENTRY | {"texts": ("x",)})).degrees.keys() == (
        STILL.keys() - {"colour"}
    )
    shades = {"foreground": (100, 255), "background": (0, 68)}
    assert TextGenerator(**(ENTRY | shades)).degrees.keys() == (STILL.keys() - {"text"})
    assert CONTRAST == INK  # what an entry promises is what the simulator asks for
