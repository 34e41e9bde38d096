"""The declared form: size, channels, and how images come to it."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.unit.reading import COLOUR, GREY
from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import (
    DatasetProblem,
)


def bicubic(length: int, wanted: int) -> np.ndarray:
    """The antialiased cubic filter (Keys, a = -1/2) as a matrix: an oracle for PIL's resizing."""
    scale = length / wanted
    centres = (np.arange(wanted)[:, None] + 0.5) * scale
    x = np.abs((np.arange(length) + 0.5 - centres) / max(scale, 1))
    weights = np.where(
        x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0)
    )
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (41, 60), (60, 41), (5, 7)])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_sizes_are_cropped_to_the_middle_and_resized(height, width, channels):
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, size=(height, width, channels), dtype=np.uint8)
    found = Form(12, channels, resize=True).fit(pixels[None], "x")
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side].astype(float)
    weights = bicubic(side, 12)
    # PIL rounds and clips after rows and again after columns.
    across = np.einsum("jx,yxc->yjc", weights, square).round().clip(0, 255)
    expected = np.einsum("iy,yjc->ijc", weights, across).round().clip(0, 255)
    assert np.abs(found[0] - expected).max() <= 1
    assert found.shape == (1, 12, 12, channels) and found.dtype == np.uint8


def test_nothing_outside_the_square_is_mixed_in():
    """As in a portrait: bars above and below the square are cut off before resizing."""
    pixels = np.full((1, 10, 6, 3), [255, 0, 0], dtype=np.uint8)
    pixels[:, 2:8] = [0, 0, 255]
    for size in (3, 6, 9):
        found = Form(size, 3, resize=True).fit(pixels, "x")
        assert np.array_equal(found, np.full((1, size, size, 3), [0, 0, 255]))


def test_colours_become_grey_by_their_luma_and_grey_is_repeated():
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], dtype=np.uint8)
    found = Form(2, 1, resize=True).fit(colours[None], "x")[0, ..., 0]
    assert np.abs(found - [[76.2, 149.7], [29.1, 90]]).max() <= 1
    with pytest.raises(DatasetProblem, match=r"x: found 2×2×3, declared 2×2×1 \(with resize: true"):
        Form(2, 1).fit(colours[None], "x")
    repeated = Form(4, 3).fit(GREY, "x")
    assert np.array_equal(repeated, np.stack([GREY] * 3, axis=-1))


def test_images_in_the_declared_form_are_not_copied():
    assert np.shares_memory(Form(4, 3, resize=True).fit(COLOUR, "x"), COLOUR)
    assert np.shares_memory(Form(4, 1).fit(GREY, "x"), GREY)


@pytest.mark.parametrize(
    ("mode", "grey"),
    [("1", True), ("L", True), ("LA", True), ("P", False), ("RGBA", False), ("CMYK", False)],
)
def test_every_mode_of_8_bits_is_read(mode, grey):
    content = io.BytesIO()
    image = Image.fromarray(COLOUR[0]).convert(mode)
    image.save(content, "TIFF" if mode == "CMYK" else "PNG")
    pixels = Form(4, 3).decode("x", content.getvalue())
    assert pixels.shape == (4, 4, 1 if grey else 3)
    assert np.array_equal(pixels.squeeze(), np.asarray(image.convert("L" if grey else "RGB")))
