"""Encoders: pixels by hand, the trained network against the one that was stored, and published
networks against the packages that publish them, with small or random weights."""

import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer, make_resizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.torch import save_file
from timm.data import create_transform
from torch import nn

from workflow_scripts.cnn import apply, train_classifier
from workflow_scripts.configuration import encoders as configuration
from workflow_scripts.encoders import EncoderProblem, encode_pixels, open_encoder
from workflow_scripts.encoders.cnn import CnnEncoder, train_encoder
from workflow_scripts.encoders.weights import read_tensors, verified
from workflow_scripts.files import FileProblem

# torch's advice to leave TorchScript, in which the published network comes.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")

SETTINGS = {
    "kind": "cnn",
    "dataset": "toy",
    "width": 4,
    "dimension": 6,
    "epochs": 10,
    "batch_size": 32,
    "learning_rate": 0.01,
    "augment": False,
    "seed": 3,
}


def corners(n: int, seed: int, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images 8×8 with one bright corner of four."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, size=(n, 8, 8, channels), dtype=np.uint8)
    labels = rng.integers(4, size=n)
    for image, label in zip(images, labels, strict=True):
        y, x = 5 * (label // 2), 5 * (label % 2)
        image[y : y + 3, x : x + 3] += 130
    return images, labels


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(weights' path, accuracy on the training set)."""
    path = tmp_path_factory.mktemp("encoder") / "weights.safetensors"
    return path, train_encoder(path, *corners(250, seed=0), 4, SETTINGS)


# Pixels


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_the_images_divided_by_255(channels):
    images = np.random.default_rng(0).integers(0, 256, size=(5, 3, 4, channels), dtype=np.uint8)
    images[0, 0, 0, 0], images[1, 0, 0, 0] = 0, 255
    found = open_encoder({"kind": "pixels"})(images)
    assert found.dtype == np.float32 and found.shape == (5, 12 * channels)
    for row, image in zip(found, images, strict=True):
        assert row.tolist() == pytest.approx([v / 255 for v in image.ravel().tolist()], abs=1e-7)
    assert found.min() == 0 and found.max() == 1


def test_zero_images_have_embeddings_of_the_same_length(trained):
    none = np.zeros((0, 8, 8, 1), np.uint8)
    assert encode_pixels(none).shape == (0, 64)
    assert CnnEncoder(str(trained[0]))(none).shape == (0, 6)


def test_pixels_need_no_torch():
    script = (
        "import sys; from workflow_scripts.encoders import open_encoder;"
        "open_encoder({'kind': 'pixels'}); sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="'resnet'"):
        open_encoder({"kind": "resnet"})


# The trained network


def test_the_stored_network_is_the_trained_one(trained):
    training = {name: SETTINGS[name] for name in SETTINGS.keys() - {"kind", "dataset"}}
    images, labels = corners(250, seed=0)
    network = train_classifier(images, labels, 4, **training)
    encoder = open_encoder(SETTINGS, str(trained[0]))
    images, labels = corners(100, seed=1)
    embeddings = encoder(images)
    assert embeddings.shape == (100, 6) and embeddings.dtype == np.float32
    assert np.array_equal(embeddings, apply(network.features, images))
    # The embedding is what the classifier's head reads.
    with torch.inference_mode():
        logits = network.head(torch.relu(torch.from_numpy(embeddings)).to(network.head.weight))
    assert np.allclose(logits.cpu(), apply(network, images), atol=1e-5)


def test_it_learns_the_toy_problem_and_reports_its_training_accuracy(trained):
    path, accuracy = trained
    assert 0.95 < accuracy <= 1
    (images, labels), (others, truth) = corners(100, seed=1), corners(100, seed=2)
    known, unknown = CnnEncoder(str(path))(images), CnnEncoder(str(path))(others)
    nearest = ((unknown[:, None] - known) ** 2).sum(2).argmin(1)
    assert np.mean(labels[nearest] == truth) > 0.95


def test_the_accuracy_is_that_of_the_stored_network_on_the_given_labels(tmp_path):
    images, labels = corners(250, seed=0)
    labels[:60] = (labels[:60] + 1) % 4  # no network gets all of these right
    accuracy = train_encoder(tmp_path / "weights", images, labels, 4, SETTINGS)
    head = load_file(tmp_path / "weights")
    embeddings = CnnEncoder(str(tmp_path / "weights"))(images).clip(0)
    logits = embeddings @ head["head.weight"].T + head["head.bias"]
    assert accuracy == pytest.approx(np.mean(logits.argmax(1) == labels))
    assert 0.5 < accuracy < 0.9


def test_an_embedding_does_not_depend_on_its_company(trained):
    encoder, (images, _) = CnnEncoder(str(trained[0])), corners(40, seed=1)
    rows = np.random.default_rng(0).permutation(40)[:17]
    assert np.allclose(encoder(images[rows]), encoder(images)[rows], rtol=0, atol=1e-5)


def test_the_file_says_its_architecture_and_is_equal_for_equal_seeds(trained, tmp_path):
    changes = {"again": {}, "seed": {"seed": 4}, "augmented": {"augment": True}}
    for name, change in changes.items():
        train_encoder(tmp_path / name, *corners(250, seed=0), 4, SETTINGS | change)
    again, seed, augmented = ((tmp_path / name).read_bytes() for name in changes)
    assert again == trained[0].read_bytes()
    assert len({again, seed, augmented}) == 3
    with safe_open(trained[0], framework="numpy") as stored:
        (entry,) = stored.metadata().values()
        assert stored.get_tensor("features.8.weight").shape == (6, 64)
    assert json.loads(entry) == {"channels": 1, "width": 4, "dimension": 6, "classes": 4}


def test_colour_images_are_encoded(tmp_path):
    images, labels = corners(64, seed=0, channels=3)
    train_encoder(tmp_path / "weights", images, labels, 4, SETTINGS | {"epochs": 1})
    assert CnnEncoder(str(tmp_path / "weights"))(images).shape == (64, 6)


def test_missing_or_damaged_weights_are_named(trained, tmp_path):
    (tmp_path / "damaged").write_bytes(trained[0].read_bytes()[:-1])
    for name in ("damaged", "missing"):
        with pytest.raises(FileProblem, match=str(tmp_path / name)):
            CnnEncoder(str(tmp_path / name))


# Weights


def hashed(path: Path) -> dict:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_a_file_is_taken_for_its_hash_alone(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(256)) * 5000)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert verified(path, right) == path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileProblem) as problem:
        verified(str(path), right)
    for part in (str(path), right, hashlib.sha256(path.read_bytes()).hexdigest()):
        assert part in str(problem.value)
    with pytest.raises(FileProblem, match=r"missing.*cannot be read"):
        verified(tmp_path / "missing", right)


def test_only_the_asked_tensors_are_read(tmp_path):
    path = tmp_path / "weights"
    save_file(
        {"visual.a": torch.ones(2), "visual.b.c": torch.zeros(3), "text.a": torch.ones(4)}, path
    )
    found = read_tensors(path, hashed(path)["sha256"], prefix="visual.")
    assert {name: len(value) for name, value in found.items()} == {"a": 2, "b.c": 3}


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


SETTINGS_OF = {
    "inception": {},
    "torchscript": {"size": 8, "channels": 3, "range": [0, 1]},
    "clip": {"model": "ViT-B-32", "mean": configuration.CLIP_MEAN, "std": configuration.CLIP_STD},
    "dinov2": {"model": "vit_small_patch14_dinov2"},
}


def entry(kind: str, weights: dict, **changes) -> dict:
    """A catalogue entry as the workflow hands it over."""
    return {"kind": kind, "weights": weights, "batch_size": 4} | SETTINGS_OF[kind] | changes


@pytest.mark.parametrize("kind", SETTINGS_OF)
@pytest.mark.parametrize("save", ["torch", "pickle"])
def test_pickled_weights_are_never_loaded(kind, save, tmp_path):
    path, mark = tmp_path / "weights.pt", tmp_path / "unpickled"
    if save == "torch":
        torch.save({"state_dict": Trap(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(FileProblem, match=f"{path}: not a readable"):
        open_encoder(entry(kind, hashed(path)), path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Trap(mark)))  # the trap works
    assert mark.exists()


@pytest.mark.parametrize("kind", SETTINGS_OF)
def test_the_hash_is_compared_before_anything_is_parsed(kind, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"neither safetensors nor TorchScript")
    with pytest.raises(FileProblem, match=f"{path}: weights with SHA-256 .*; expected {'0' * 64}"):
        open_encoder(entry(kind, {"sha256": "0" * 64}), path)


# Networks


def coloured(n: int, size: int, channels: int = 3) -> np.ndarray:
    """Smooth images, as photographs are, with some noise."""
    rng = np.random.default_rng(size)
    y, x = np.mgrid[:size, :size] / size
    waves = rng.uniform(1, 9, (2, n, 1, 1, channels))
    smooth = np.sin(waves[0] * x[..., None] + waves[1] * y[..., None])
    return np.clip(127 + 90 * smooth + rng.normal(0, 25, smooth.shape), 0, 255).astype(np.uint8)


def check(encoder, images: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Equal to the reference, in any company, in any number; distinct images are told apart."""
    found = encoder(images)
    assert found.dtype == np.float32 and found.shape == expected.shape
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() < tolerance * scale
    between = np.abs(expected[0] - expected[1]).max()
    assert between > 20 * tolerance * scale  # the tolerance is no excuse
    assert np.array_equal(encoder(images), found) and np.array_equal(encoder(images), found)
    assert np.abs(encoder(images[::-1][:2]) - found[::-1][:2]).max() < tolerance * scale
    assert encoder(images[:0]).shape == (0, expected.shape[1])
    # Grey is RGB with three equal channels.
    grey = images[:2, :, :, :1]
    repeated = encoder(np.repeat(grey, 3, axis=3))
    assert np.abs(encoder(grey) - repeated).max() < tolerance * scale


class Inception(nn.Module):
    """What clean-fid asks of its network: `layers`, which gives 2048 features an image."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 7, stride=8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.AdaptiveAvgPool2d(16),
            nn.Flatten(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def script(module: nn.Module, path: Path) -> Path:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    torch.jit.script(module).save(path)
    return path


@pytest.mark.parametrize("size", [32, 64])
def test_inception_features_are_those_of_clean_fid(size, tmp_path):
    path = script(Inception(), tmp_path / "inception-2015-12-05.pt")
    images, resize = coloured(9, size), build_resizer("clean")
    resized = np.stack([resize(image) for image in images]).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        expected = InceptionV3W(str(tmp_path), download=False)(torch.from_numpy(resized)).numpy()
    encoder = open_encoder(entry("inception", hashed(path)), path)
    assert expected.shape == (9, 2048)
    check(encoder, images, expected, 1e-5)


def test_a_script_that_is_not_inception_is_named(tmp_path):
    path = script(nn.Linear(2, 2), tmp_path / "other.pt")
    with pytest.raises(FileProblem, match=f"{path}: not Inception"):
        open_encoder(entry("inception", hashed(path)), path)


class Means(nn.Module):
    """The means of the four quarters of each channel: [N, C, 2, 2]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(x, 2)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (-3.5, 20.0)])
def test_a_script_sees_its_range(low, high, tmp_path):
    path, images = script(Means(), tmp_path / "means.pt"), coloured(9, 20)
    resize = make_resizer("PIL", False, "bicubic", (12, 12))
    resized = np.stack([resize(image) for image in images]).astype(float)
    quarters = resized.reshape(9, 2, 6, 2, 6, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2)
    expected = low + (high - low) * quarters.reshape(9, 12) / 255
    encoder = open_encoder(entry("torchscript", hashed(path), size=12, range=[low, high]), path)
    check(encoder, images, expected, 1e-5)


def test_a_script_for_grey_images_sees_the_luma_of_colours(tmp_path):
    path, images = script(Means(), tmp_path / "means.pt"), coloured(5, 12)
    encoder = open_encoder(entry("torchscript", hashed(path), size=12, channels=1), path)
    luma = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    expected = luma.reshape(5, 2, 6, 2, 6).mean(axis=(2, 4)).reshape(5, 4) / 255
    assert np.allclose(encoder(images), expected, atol=1e-5)
    assert np.array_equal(encoder(luma[..., None]), encoder(images))


class Sum(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum()


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


@pytest.mark.parametrize("module", [Sum(), Pair()])
def test_a_script_that_gives_no_embeddings_is_named(module, tmp_path):
    path = script(module, tmp_path / "script.pt")
    encoder = open_encoder(entry("torchscript", hashed(path)), path)
    with pytest.raises(FileProblem, match=f"{path}: 3 images give .*; expected a tensor"):
        encoder(coloured(3, 8))


TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    """A model that open_clip now knows by name: (model, file of its weights)."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-clip", load_weights=False).eval()
    path = folder / "weights"  # no suffix: fetched files have none
    save_file({name: value.clone() for name, value in model.state_dict().items()}, path)
    return model, path


@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize(
    ("mean", "std"),
    [(configuration.CLIP_MEAN, configuration.CLIP_STD), ((0.5, 0.4, 0.3), (0.5, 0.6, 0.7))],
)
def test_clip_embeddings_are_those_of_open_clip(tiny_clip, size, mean, std):
    model, path = tiny_clip
    images = coloured(9, size)
    prepare = image_transform_v2(PreprocessCfg(size=32, mean=mean, std=std), is_train=False)
    with torch.inference_mode():
        batch = torch.stack([prepare(Image.fromarray(image)) for image in images])
        expected = model.encode_image(batch).numpy()
    encoder = open_encoder(entry("clip", hashed(path), model="tiny-clip", mean=mean, std=std), path)
    check(encoder, images, expected, 1e-5)


def test_clip_of_another_architecture_or_name_is_refused(tiny_clip):
    _, path = tiny_clip
    with pytest.raises(FileProblem, match=r"not the weights of ViT-S-32.*tensors differ, first"):
        open_encoder(entry("clip", hashed(path), model="ViT-S-32"), path)
    for name in ("ViT-B-33", "coca_ViT-B-32", "hf-hub:somebody/something"):
        with pytest.raises(EncoderProblem, match=f"found '{name}'; allowed: .*ViT-B-32"):
            open_encoder(entry("clip", hashed(path), model=name), path)


def test_clip_is_not_prepared_as_no_weights_of_the_model_want_it(tiny_clip):
    _, path = tiny_clip
    with pytest.raises(EncoderProblem, match=r"ViT-B-16-SigLIP: found \[0.48.*allowed: \[0.5, 0.5"):
        open_encoder(entry("clip", hashed(path), model="ViT-B-16-SigLIP"), path)
    with pytest.raises(EncoderProblem, match="not trained on bicubic resizing"):
        open_encoder(entry("clip", hashed(path), model="MobileCLIP-S1"), path)


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    """A DINOv2 as it is published, for 518 × 518 pixels: (network, file of its weights)."""
    torch.manual_seed(0)
    network = timm.create_model(
        "vit_small_patch14_dinov2", num_classes=0, dynamic_img_size=True
    ).eval()
    for block in network.blocks:
        # As initialised, a block hardly contributes.
        nn.init.constant_(block.ls1.gamma, 0.5)
        nn.init.constant_(block.ls2.gamma, 0.5)
    nn.init.normal_(network.pos_embed, std=0.5)
    path = tmp_path_factory.mktemp("dino") / "weights"
    state = {name: value.clone() for name, value in network.state_dict().items()}
    save_file(state | {"mask_token": torch.zeros(1, 384)}, path)
    return network, path


def test_dino_embeddings_are_those_of_timm(dino):
    network, path = dino
    images = coloured(3, 32)
    prepare = create_transform(
        (3, 224, 224),
        interpolation="bicubic",
        mean=timm.data.IMAGENET_DEFAULT_MEAN,
        std=timm.data.IMAGENET_DEFAULT_STD,
        crop_pct=1.0,
    )
    with torch.inference_mode():
        batch = torch.stack([prepare(Image.fromarray(image)) for image in images])
        # The class token that the network's own `forward_features` gives at this size.
        expected = network.forward_features(batch)[:, 0].numpy()
    assert expected.shape == (3, 384) and network.pos_embed.shape[1] == 37 * 37 + 1
    check(open_encoder(entry("dinov2", hashed(path)), path), images, expected, 1e-4)


def test_dino_of_another_architecture_or_name_is_refused(dino, tiny_clip):
    small, registers = "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"
    for path, name in ((dino[1], registers), (tiny_clip[1], small)):
        with pytest.raises(FileProblem, match=f"{path}: not the weights of {name}"):
            open_encoder(entry("dinov2", hashed(path), model=name), path)
    with pytest.raises(EncoderProblem, match=r"found 'resnet18'; allowed: .*vit_small_patch14"):
        open_encoder(entry("dinov2", hashed(dino[1]), model="resnet18"), dino[1])


# Configuration


HASH = {"path": "weights.safetensors", "sha256": "0" * 64}


def test_the_default_preprocessing_is_openais():
    found = configuration.ClipEncoder(kind="clip", model="ViT-B-32", weights=HASH)
    assert found.mean == open_clip.OPENAI_DATASET_MEAN
    assert found.std == open_clip.OPENAI_DATASET_STD


@pytest.mark.parametrize("name", ["a/pytorch_model.bin", "model.pt", "X.PTH", "old.ckpt", "w.pkl"])
@pytest.mark.parametrize("place", ["path", "url"])
def test_pickled_weights_are_refused_by_name(name, place):
    weights = {place: name, "sha256": "0" * 64}
    with pytest.raises(ValidationError, match="never loaded"):
        configuration.DinoEncoder(kind="dinov2", weights=weights)
    configuration.InceptionEncoder(kind="inception", weights=weights)  # TorchScript has such names


def test_a_range_ascends():
    with pytest.raises(ValidationError, match="the smaller number first"):
        configuration.TorchScriptEncoder(kind="torchscript", weights=HASH, size=8, range=(1.0, 1.0))
