"""Resizing: PIL and clean-fid's own resizers are the oracles."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid.resize import build_resizer, make_resizer
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from workflow_scripts import resizing
from workflow_scripts.resizing import fit, resampling_matrix, resize_batch, to_channels

CPU = torch.device("cpu")
TOLERANCE = 1e-3  # of 255 grey levels


def noise(n: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Half of the pixels at the ends of the range, where the filter overshoots."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, height, width, channels), dtype=np.uint8)
    extremes = rng.choice(np.array([0, 255], np.uint8), images.shape)
    return np.where(rng.random(images.shape) < 0.5, extremes, images)


def pil(image: np.ndarray, size: int) -> np.ndarray:
    """PIL's bicubic filter on 8-bit pixels: uint8 [size, size, C]."""
    plain = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
    return np.asarray(plain.resize((size, size), Image.Resampling.BICUBIC)).reshape(size, size, -1)


# In float32, for networks


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 512), st.integers(0, 2**32 - 1))
def test_batches_are_resized_as_clean_fid_resizes_each_image(size, seed):
    images = noise(2, size, size, 3, seed)
    clean = build_resizer("clean")
    expected = np.stack([clean(image) for image in images]).transpose(0, 3, 1, 2)
    found = resize_batch(images, 299, CPU)
    assert found.shape == (2, 3, 299, 299) and found.dtype == torch.float32
    assert np.abs(found.numpy() - expected).max() < TOLERANCE
    assert found.min() >= 0 and found.max() <= 255


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 300))
def test_any_shape_is_resized_to_any_size(height, width, size):
    images = noise(1, height, width, 3, seed=height + width)
    expected = make_resizer("PIL", False, "bicubic", (size, size))(images[0])
    found = resize_batch(images, size, CPU)[0].permute(1, 2, 0)
    assert np.abs(found.numpy() - expected).max() < TOLERANCE


def test_another_filter_would_be_noticed():
    """The oracle tells PIL's filter from torch's own bicubic one, which has a = −¾."""
    images = noise(1, 32, 32, 3)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    other = torch.nn.functional.interpolate(x, (299, 299), mode="bicubic").clamp(0, 255)
    assert (other - resize_batch(images, 299, CPU)).abs().max() > 1


@pytest.mark.parametrize("rounded", [False, True])
def test_an_image_does_not_depend_on_its_company(rounded):
    images = noise(2 * resizing.CHUNK + 3, 20, 20, 1)
    whole = resize_batch(images, 45, CPU, rounded=rounded)
    for row, image in enumerate(images):
        alone = resize_batch(image[None], 45, CPU, rounded=rounded)[0]
        assert (alone - whole[row]).abs().max() <= (0 if rounded else TOLERANCE)


@pytest.mark.parametrize("rounded", [False, True])
def test_equal_sizes_leave_the_pixels_alone(rounded):
    images = noise(3, 24, 24, 3)
    found = resize_batch(images, 24, CPU, rounded=rounded)
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), images)


@pytest.mark.parametrize("rounded", [False, True])
def test_one_buffer_serves_batches_of_different_lengths(rounded):
    images, out = noise(9, 16, 16, 3), torch.full((9, 3, 30, 30), -7.0)
    for rows in (slice(0, 9), slice(0, 4), slice(3, 5)):
        found = resize_batch(images[rows], 30, CPU, rounded=rounded, out=out)
        assert found.data_ptr() == out.data_ptr()
        assert torch.equal(found, resize_batch(images[rows], 30, CPU, rounded=rounded))


def test_zero_images_have_a_shape():
    for rounded in (False, True):
        found = resize_batch(np.zeros((0, 8, 8, 1), np.uint8), 16, CPU, rounded=rounded)
        assert found.shape == (0, 1, 16, 16)


@pytest.mark.filterwarnings("error")
def test_stored_images_are_read_and_not_written(tmp_path):
    np.save(tmp_path / "images.npy", noise(3, 10, 10, 1))
    stored = np.load(tmp_path / "images.npy", mmap_mode="r")
    for size in (10, 20):
        resize_batch(stored, size, CPU).fill_(0)
    assert np.array_equal(stored, noise(3, 10, 10, 1))


@pytest.mark.parametrize(("found", "wanted"), [(32, 299), (512, 299), (7, 7), (1, 5), (9, 1)])
def test_a_constant_line_stays_constant(found, wanted):
    matrix = resampling_matrix(found, wanted)
    assert matrix.shape == (wanted, found) and np.allclose(matrix.sum(axis=1), 1)
    assert np.allclose(matrix, matrix[::-1, ::-1])  # left and right are alike
    if found == wanted:
        assert np.array_equal(matrix, np.eye(found))


# In 8 bits


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 260), st.sampled_from([1, 3]), st.integers(0, 99))
def test_rounded_images_are_those_of_pil_to_the_bit(found, wanted, channels, seed):
    images = noise(2, found, found, channels, seed)
    resized = resize_batch(images, wanted, CPU, rounded=True).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(resized, [pil(image, wanted) for image in images])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 3]), st.sampled_from([1, 3]))
def test_fitted_images_are_those_of_pil(found, wanted, before, after):
    images = noise(2, found, found, before, seed=found)
    fitted = fit(images, wanted, after)
    assert fitted.shape == (2, wanted, wanted, after) and fitted.dtype == np.uint8
    for image, result in zip(images, fitted, strict=True):
        plain = Image.fromarray(image.squeeze(2) if before == 1 else image)
        plain = plain.convert("L") if after == 1 else plain
        plain = plain.resize((wanted, wanted), Image.Resampling.BICUBIC)
        plain = plain.convert("RGB") if after == 3 else plain
        assert np.array_equal(np.asarray(plain).reshape(result.shape), result)


def test_images_that_fit_are_given_back_untouched():
    images = noise(2, 8, 8, 3)
    assert fit(images, 8, 3) is images
    assert to_channels(images, 3) is images


def test_zero_images_fit():
    assert fit(np.zeros((0, 8, 8, 1), np.uint8), 16, 3).shape == (0, 16, 16, 3)


def test_every_colour_has_the_luma_of_pil():
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, levels.size, 3)
    expected = np.asarray(Image.fromarray(colours[0]).convert("L"))
    assert np.array_equal(to_channels(colours, 1)[0, :, :, 0], expected)


def test_fitting_needs_no_torch():
    script = (
        "import sys, numpy as np; from workflow_scripts.resizing import fit;"
        "fit(np.zeros((1, 8, 8, 3), np.uint8), 4, 1); sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0
