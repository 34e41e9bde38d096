"""The small network: repeatable, independent of batches, and able to learn."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, uniform

from workflow_scripts import cnn, device
from workflow_scripts.cnn import SmallCnn, apply, as_tensor, augmented, train_classifier
from workflow_scripts.device import choose_device

SETTINGS = {
    "width": 4,
    "dimension": 8,
    "epochs": 6,
    "batch_size": 32,
    "learning_rate": 0.01,
    "seed": 0,
}


def stripes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bars that lie or stand, anywhere in a noisy colour image: no pixel alone tells which."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 80, size=(n, 6, 6, 3), dtype=np.uint8)
    labels = rng.integers(2, size=n)
    for image, label in zip(images, labels, strict=True):
        (image if label else image.transpose(1, 0, 2))[rng.integers(6)] += 170
    return images, labels


def weights(network: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.cpu().numpy() for name, value in network.state_dict().items()}


def train(images, labels, **changes) -> SmallCnn:
    return train_classifier(images, labels, 2, **(SETTINGS | changes))


def test_images_become_channels_first_between_minus_one_and_one():
    images = np.random.default_rng(0).integers(0, 256, size=(3, 2, 4, 3), dtype=np.uint8)
    images[0, 0, 0] = (0, 255, 51)
    tensor = as_tensor(images, torch.device("cpu"))
    assert tensor.shape == (3, 3, 2, 4) and tensor.dtype == torch.float32
    assert np.allclose(tensor[0, :, 0, 0], [-1, 1, -0.6])
    for n, y, x, c in np.ndindex(images.shape):
        assert abs(tensor[n, c, y, x] - (images[n, y, x, c] / 127.5 - 1)) < 1e-6
    assert images[0, 0, 0, 1] == 255  # the input is left alone


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 1), (32, 3)])
def test_the_network_takes_any_image_size(size, channels):
    network = SmallCnn(channels, width=4, dimension=7, classes=5)
    images = np.zeros((2, size, size, channels), np.uint8)
    assert apply(network.features, images).shape == (2, 7)
    assert apply(network, images).shape == (2, 5)


def test_equal_seeds_give_equal_weights_and_other_seeds_others():
    images, labels = stripes(70, seed=0)
    trained = {}
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        # The state of the global random generators must not matter.
        torch.manual_seed(len(trained))
        np.random.seed(len(trained))
        trained[name] = weights(train(images, labels, epochs=2, seed=seed))
    for name, value in trained["one"].items():
        assert np.array_equal(value, trained["two"][name]), name
        assert not np.array_equal(value, trained["other"][name]), name


def test_it_learns_what_no_single_pixel_tells():
    # 310 rows are no multiple of the batch size.
    network = train(*stripes(310, seed=0))
    images, labels = stripes(300, seed=1)
    assert np.mean(apply(network, images).argmax(1) == labels) > 0.95


def test_shuffled_labels_teach_nothing():
    images, labels = stripes(310, seed=0)
    network = train(images, np.random.default_rng(0).permutation(labels))
    images, labels = stripes(300, seed=1)
    # Chance is 0.5 ± 0.029; five standard errors, fixed seeds.
    assert abs(np.mean(apply(network, images).argmax(1) == labels) - 0.5) < 5 * 0.029


@pytest.mark.parametrize("batch", [1, 7, 40, 41, 1000])
def test_batches_do_not_change_results(batch, monkeypatch):
    images, _ = stripes(41, seed=0)
    torch.manual_seed(0)
    network = SmallCnn(3, 4, 8, 2)
    with torch.inference_mode():
        whole = network(torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(127.5) - 1))
    monkeypatch.setattr(cnn, "BATCH", batch)
    found = apply(network, images)
    assert found.dtype == np.float32
    assert np.allclose(found, whole, rtol=0, atol=1e-5) and np.ptp(found, axis=0).min() > 1e-3


class Rows:
    """Images that count how many of them are asked for at once."""

    def __init__(self, images: np.ndarray):
        self.images, self.shape, self.most = images, images.shape, 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows) -> np.ndarray:
        asked = self.images[rows]
        self.most = max(self.most, len(asked))
        return asked


def test_only_a_batch_of_images_is_held():
    images, labels = stripes(130, seed=0)
    rows = Rows(images)
    network = train(rows, labels, epochs=1)
    assert rows.most == SETTINGS["batch_size"]
    rows = Rows(np.concatenate([images] * 9))
    apply(network, rows)
    assert rows.most == cnn.BATCH


@pytest.mark.filterwarnings("error:.*not writable")
@pytest.mark.parametrize("channels", [1, 3])
def test_stored_images_train_as_those_in_memory(channels, tmp_path):
    images, labels = stripes(70, seed=0)
    images = images[..., :channels]
    np.save(tmp_path / "images.npy", images)
    stored = np.load(tmp_path / "images.npy", mmap_mode="r")
    found, expected = (train(x, labels, epochs=1) for x in (stored, images))
    for name, value in weights(expected).items():
        assert np.array_equal(weights(found)[name], value), name
    assert np.array_equal(apply(found, stored), apply(expected, images))


# Augmentation


class Fixed:
    """A random generator that draws what it is told: angle, log scale, shift."""

    def __init__(self, angle: float = 0, scale: float = 1, shift: tuple[float, float] = (0, 0)):
        self.draws = iter([angle, np.log(scale), shift])

    def uniform(self, low, high, size):
        return np.broadcast_to(next(self.draws), size)


def picture(size: int = 16) -> np.ndarray:
    """A dark border, and a different bright patch in each corner of the middle."""
    image = np.zeros((1, 1, size, size), np.float32)
    image[0, 0, 5:7, 5:7], image[0, 0, 5:7, 9:11], image[0, 0, 9:11, 5:7] = 1, 2, 3
    return image


def changed(**draws) -> np.ndarray:
    return augmented(torch.from_numpy(picture()), Fixed(**draws)).numpy()


def test_shifts_turns_and_scales_are_what_they_say():
    assert np.allclose(changed(), picture(), atol=1e-5)
    moved = changed(shift=(2 / 16, -1 / 16))
    # Taken from two pixels to the right and one above: moved to the left and down.
    assert np.allclose(moved, np.roll(picture(), (1, -2), axis=(2, 3)), atol=1e-5)
    turned = changed(angle=np.pi / 2)
    assert np.allclose(turned, np.rot90(picture(), axes=(2, 3)), atol=1e-5) or np.allclose(
        turned, np.rot90(picture(), -1, axes=(2, 3)), atol=1e-5
    )
    # Twice as large: each patch of 2 × 2 has become 4 × 4 about the middle.
    large = changed(scale=2)
    assert large.sum() == pytest.approx(4 * picture().sum(), rel=0.01)
    assert large[0, 0, 8 - 4, 8 - 4] == pytest.approx(1) and large[0, 0, 3, 11] > 1


def test_what_comes_in_from_outside_repeats_the_border():
    image = torch.arange(64.0).view(1, 1, 8, 8)
    moved = augmented(image, Fixed(shift=(3 / 8, 0)))[0, 0]
    assert torch.allclose(moved[:, :5], image[0, 0, :, 3:], atol=1e-4)
    assert torch.allclose(moved[:, 5:], image[0, 0, :, 7:].expand(8, 3), atol=1e-4)


def test_augmentation_is_uniform_within_its_ranges():
    n, size, middle = 4000, 33, 16
    ramps = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32)] * 2))  # x, y
    x = torch.from_numpy(ramps).expand(n, 2, size, size)
    images = augmented(x, np.random.default_rng(0)).numpy()
    # Two ramps say from where a pixel comes, and their slopes how the image was turned and scaled.
    shift = (images[:, :, middle, middle] - middle) / size
    slope = (images[:, 0, middle, middle + 1] - images[:, 0, middle, middle - 1]) / 2
    across = (images[:, 0, middle + 1, middle] - images[:, 0, middle - 1, middle]) / 2
    angle = np.rad2deg(np.arctan2(across, slope))
    scale = np.emath.logn(1.2, 1 / np.hypot(slope, across))
    for values, reach in ((shift[:, 0], 0.1), (shift[:, 1], 0.1), (angle, 15), (scale, 1)):
        # False alarms: below 1e-6 for each, at fixed seeds.
        assert kstest(values, uniform(-reach, 2 * reach).cdf).pvalue > 1e-6
        assert np.abs(values).max() < 1.001 * reach
    drawn = np.stack([*shift.T, angle, scale])
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 5 / np.sqrt(n)


def test_augmentation_follows_the_seed_and_teaches_something_else():
    images, labels = stripes(70, seed=0)
    first, again, other, without = (
        weights(train(images, labels, epochs=2, **changes))
        for changes in (
            {"augment": True},
            {"augment": True},
            {"augment": True, "seed": 1},
            {"augment": False},
        )
    )
    for name, value in first.items():
        assert np.array_equal(value, again[name]), name
        assert not np.array_equal(value, other[name]), name
        assert not np.array_equal(value, without[name]), name


def test_augmented_training_learns_what_it_was_not_shown():
    """One image a class; the test moves, turns and scales them."""
    rng = np.random.default_rng(0)
    shapes = np.zeros((2, 16, 16, 1), np.uint8)
    shapes[0, 4:12, 7:9], shapes[1, 7:9, 4:12] = 255, 255
    labels = rng.integers(2, size=300)
    x = torch.from_numpy(shapes[labels].transpose(0, 3, 1, 2)).float()
    test = augmented(x, rng).numpy().transpose(0, 2, 3, 1).clip(0, 255).astype(np.uint8)
    few = np.tile(np.arange(2), 64)
    correct = {}
    for augment in (False, True):
        network = train(shapes[few], few, augment=augment, width=8, epochs=15, seed=1)
        correct[augment] = np.mean(apply(network, test).argmax(1) == labels)
    assert correct[True] > 0.95 > 0.9 > correct[False]


def test_zero_rows_have_an_output():
    network = SmallCnn(1, 4, 8, 2)
    assert apply(network, np.zeros((0, 8, 8, 1), np.uint8)).shape == (0, 2)
    assert apply(network.features, np.zeros((0, 8, 8, 1), np.uint8)).shape == (0, 8)


def test_a_cpu_computes_with_one_thread(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert choose_device.__wrapped__() == torch.device("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_gpu_is_used_with_repeatable_kernels(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(device, "_identity", lambda index: f"gpu-{index}")
    # To be given back as they were.
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    assert choose_device.__wrapped__() == torch.device("cuda", 0)
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
