"""The small network: repeatable, independent of batches, and able to learn."""

import numpy as np
import pytest
import torch

from workflow_scripts import cnn
from workflow_scripts.cnn import SmallCnn, apply, as_tensor, train_classifier
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


def test_zero_rows_have_an_output():
    network = SmallCnn(1, 4, 8, 2)
    assert apply(network, np.zeros((0, 8, 8, 1), np.uint8)).shape == (0, 2)
    assert apply(network.features, np.zeros((0, 8, 8, 1), np.uint8)).shape == (0, 8)


def test_a_cpu_computes_with_one_thread(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert choose_device() == torch.device("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_gpu_is_used_with_repeatable_kernels(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    assert choose_device() == torch.device("cuda")
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
