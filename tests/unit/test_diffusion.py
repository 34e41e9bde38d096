"""The diffusion generator: a toy model is trained in seconds, and every step of it is watched."""

import os

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DiffusionPipeline, UNet2DModel
from safetensors.torch import load_file

from workflow_scripts import folders
from workflow_scripts.files import FileProblem, digest
from workflow_scripts.generators import diffusion, open_generator
from workflow_scripts.generators.diffusion import train_diffusion
from workflow_scripts.generators.pipelines import open_pipeline
from workflow_scripts.generators.pipelines.loading import PipelineProblem
from workflow_scripts.generators.population import Population

CLASSES = ("left", "right", "none")
SETTINGS = {
    "kind": "diffusion",
    "seed": 0,
    "channels": (16,),
    "layers_per_block": 1,
    "timesteps": 200,
    "batch_size": 32,
    "training_steps": 250,
    "learning_rate": 5e-3,
    "sampling_steps": 10,
}
# What the trained model is opened with.
STEPS = 10
TINY = SETTINGS | {"channels": (8,), "training_steps": 3, "batch_size": 8}


def toy(n: int = 300, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Images 4×4: the left half bright, the right half bright, or dark all over."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    images = rng.integers(0, 40, size=(n, 4, 4, channels))
    images[labels == 0, :, :2] += 200
    images[labels == 1, :, 2:] += 200
    return images.astype(np.uint8), labels.astype(np.int64)


def sides(images: np.ndarray) -> np.ndarray:
    """What each image looks like, as an index into CLASSES."""
    left, right = images[:, :, :2].mean(axis=(1, 2, 3)), images[:, :, 2:].mean(axis=(1, 2, 3))
    return np.where(np.maximum(left, right) < 100, 2, (right > left).astype(int))


def train(folder, classes=CLASSES, channels=1, **changes):
    train_diffusion(folder, *toy(channels=channels), classes, TINY | changes)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model that has learned the toy classes."""
    folder = tmp_path_factory.mktemp("trained") / "pipeline"
    train_diffusion(folder, *toy(), CLASSES, SETTINGS)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model of three training steps, in colour."""
    return train(tmp_path_factory.mktemp("tiny") / "pipeline", channels=3)


def parents(labels, condition, channels=1) -> Population:
    """Toy images of `labels`, which the model is told are of `condition`."""
    images, known = toy(channels=channels)
    rows = [np.flatnonzero(known == label)[i] for i, label in enumerate(labels)]
    state = {"condition": np.full(len(labels), condition)}
    return Population(images[rows], np.asarray(labels), state)


def opened(folder, classes=CLASSES, steps=STEPS):
    return open_pipeline(folder, classes, SETTINGS | {"sampling_steps": steps})


def watch(generator) -> list[tuple[np.ndarray, int, np.ndarray, np.ndarray]]:
    """Note each call of the network: input, time step, class labels, output."""
    calls = []

    def note(module, args, kwargs, output):
        x, t = args
        calls.append((x.numpy(), int(t), kwargs["class_labels"].numpy(), output.sample.numpy()))

    generator.sampler.network.unet.register_forward_hook(note, with_kwargs=True)
    return calls


def signal_shares(steps: int) -> np.ndarray:
    """ᾱ of the cosine schedule (arXiv 2102.09672, eq. 17; each β at most 0.999)."""
    f = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.cumprod(1 - np.minimum(1 - f[1:] / f[:-1], 0.999))


# Training


def test_equal_seeds_give_equal_files_and_other_seeds_other_weights(tmp_path):
    found = {}
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        # The state of the global random generators must not matter.
        torch.manual_seed(len(found))
        np.random.seed(len(found))
        folder = train(tmp_path / name, seed=seed)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        found[name] = {str(path.relative_to(folder)): digest(path.read_bytes()) for path in files}
    assert found["one"] == found["two"]
    differing = [name for name in found["one"] if found["one"][name] != found["other"][name]]
    assert differing == ["unet/diffusion_pytorch_model.safetensors"]


def test_the_folder_is_a_diffusers_pipeline_that_holds_no_pickle(trained):
    pipeline = DiffusionPipeline.from_pretrained(trained, local_files_only=True)
    assert isinstance(pipeline, DDIMPipeline) and isinstance(pipeline.unet, UNet2DModel)
    assert pipeline.unet.config.num_class_embeds == len(CLASSES)
    assert pipeline.scheduler.config.beta_schedule == "squaredcos_cap_v2"
    assert {path.suffix for path in trained.rglob("*") if path.is_file()} == {
        ".json",
        ".safetensors",
    }


def test_the_model_learns_each_class(trained):
    generator = opened(trained)
    labels = np.arange(60) % 3
    population = generator.random(labels, np.random.default_rng(0))
    # By chance a third would match; the toy is easy.
    assert np.mean(sides(population.images) == labels) > 0.9
    assert np.array_equal(population.labels, labels)


def test_training_images_are_noised_by_the_cosine_schedule(tmp_path, monkeypatch):
    seen = []
    forward = UNet2DModel.forward

    def note(self, sample, timestep, class_labels=None, **kwargs):
        seen.append((sample.detach().numpy(), timestep.numpy(), class_labels.numpy()))
        return forward(self, sample, timestep, class_labels=class_labels, **kwargs)

    monkeypatch.setattr(UNet2DModel, "forward", note)
    train(tmp_path / "model", training_steps=40)
    noisy, times, labels = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    assert times.min() >= 0 and times.max() < 200 and len(np.unique(times)) > 100
    # What is left of an image at a step is √ᾱ of it; the rest is noise, whose mean is 0.
    images, known = toy()
    level = np.sqrt(signal_shares(200))[times]
    for label in range(3):
        clean = images[known == label].mean(axis=(0, 3)) / 127.5 - 1
        residual = (noisy[labels == label, 0] - level[labels == label, None, None] * clean).mean()
        # About 1,700 numbers of sd ≤ 1: five standard errors are 0.13, one fixed seed.
        assert abs(residual) < 0.13


# RANDOM


def test_random_is_ddim_from_pure_noise_without_fresh_noise(trained):
    generator = opened(trained)
    calls = watch(generator)
    labels = np.array([2, 0, 1, 1])
    population = generator.random(labels, np.random.default_rng(7))
    assert [t for _, t, _, _ in calls] == list(range(180, -1, -20))
    noise = np.random.default_rng(7).standard_normal((4, 1, 4, 4), dtype=np.float32)
    assert np.array_equal(calls[0][0], noise)
    assert all(np.array_equal(classes, labels) for _, _, classes, _ in calls)
    # Equation 12 of arXiv 2010.02502 with σ = 0 and the prediction of x₀ clipped.
    alphas = signal_shares(200)
    for i, (x, t, _, predicted) in enumerate(calls):
        x0 = ((x - np.sqrt(1 - alphas[t]) * predicted) / np.sqrt(alphas[t])).clip(-1, 1)
        before = alphas[t - 20] if t >= 20 else 1.0
        following = np.sqrt(before) * x0 + np.sqrt(1 - before) * predicted
        if i + 1 < len(calls):
            assert np.allclose(calls[i + 1][0], following, atol=1e-4)
    pixels = np.round((following + 1) * 127.5).clip(0, 255).transpose(0, 2, 3, 1)
    assert np.abs(population.images - pixels).max() <= 1


def test_equal_random_generators_give_equal_images(trained):
    def draw(seed):
        generator = opened(trained, steps=4)
        first = generator.random(np.arange(3), np.random.default_rng(seed))
        varied = generator.vary(first, {"strength": 0.5}, np.random.default_rng(seed))
        return digest(first.images, varied.images)

    assert draw(0) == draw(0) != draw(1)


def test_an_image_does_not_depend_on_the_labels_of_other_rows(trained):
    generator = opened(trained)
    images = [
        generator.random(np.array(labels), np.random.default_rng(3)).images.astype(int)
        for labels in ([0, 1, 2, 0, 1], [0, 2, 1, 0, 0])
    ]
    difference = np.abs(images[0] - images[1]).max(axis=(1, 2, 3))
    assert difference[[0, 3]].max() <= 1 < 50 < difference[[1, 2, 4]].min()


# VARIATION


@pytest.mark.parametrize(
    ("strength", "calls_expected"), [(1, 10), (0.7, 7), (0.34, 3), (0.1, 1), (0.01, 1)]
)
def test_the_strength_is_the_share_of_steps_that_are_run_again(trained, strength, calls_expected):
    generator = opened(trained)
    calls = watch(generator)
    population = parents([0, 1, 2], 2)
    varied = generator.vary(population, {"strength": strength}, np.random.default_rng(5))
    times = [t for _, t, _, _ in calls]
    assert times == [20 * i for i in reversed(range(calls_expected))]
    # SDEdit: the image and fresh noise, mixed at the level of the first step that is run again.
    share = signal_shares(200)[times[0]]
    clean = population.images.transpose(0, 3, 1, 2) / 127.5 - 1
    noise = np.random.default_rng(5).standard_normal(clean.shape, dtype=np.float32)
    mixed = np.sqrt(share) * clean + np.sqrt(1 - share) * noise
    assert np.allclose(calls[0][0], mixed, atol=1e-5)
    assert all((classes == 2).all() for _, _, classes, _ in calls)
    assert np.array_equal(varied.labels, population.labels)
    assert np.array_equal(varied.state["condition"], population.state["condition"])


def test_a_stronger_variation_leaves_less_of_the_image(trained):
    generator = opened(trained)
    population = parents([0] * 40, condition=1)
    changes, turned = [], []
    for strength in (0.1, 0.5, 1):
        images = generator.vary(population, {"strength": strength}, np.random.default_rng(0)).images
        changes.append(np.abs(images.astype(float) - population.images).mean())
        turned.append(np.mean(sides(images) == 1))
    assert changes[0] < 15 and 2 * changes[0] < changes[1] < changes[2], changes
    # Little noise keeps the left half; all of it leaves only the condition.
    assert turned[0] == 0 and turned[-1] > 0.8, turned


# Classes


def test_classes_are_found_by_name(tiny):
    generator = opened(tiny, ("none", "left"), 2)
    calls = watch(generator)
    population = generator.random(np.array([0, 1, 0]), np.random.default_rng(0))
    assert population.labels.tolist() == [0, 1, 0]
    assert [classes.tolist() for _, _, classes, _ in calls] == [[2, 0, 2]] * 2
    generator.vary(population, {"strength": 0.5}, np.random.default_rng(0))
    assert calls[-1][2].tolist() == [2, 0, 2]


def test_an_unknown_class_is_named(tiny):
    with pytest.raises(PipelineProblem) as problem:
        opened(tiny, ("left", "top", "none"))
    assert "'top'" in str(problem.value) and str(tiny) in str(problem.value)
    assert all(name in str(problem.value) for name in CLASSES)


def test_zero_rows_work(tiny):
    generator = opened(tiny)
    none = generator.random(np.zeros(0, dtype=np.int64), np.random.default_rng(0))
    for population in (none, generator.vary(none, {"strength": 1}, np.random.default_rng(0))):
        assert population.images.shape == (0, 4, 4, 3) and population.images.dtype == np.uint8
        assert len(population) == len(population.state["condition"]) == 0


# Files


def test_a_folder_that_is_no_model_is_named(tmp_path):
    with pytest.raises(FileProblem, match=str(tmp_path)):
        opened(tmp_path)


def test_an_entry_of_the_catalogue_opens_the_same_model(trained):
    labels = np.arange(3)
    images = [
        generator.random(labels, np.random.default_rng(0)).images
        for generator in (
            open_generator(SETTINGS, CLASSES, [str(trained)]),
            opened(trained),
        )
    ]
    assert np.array_equal(*images)


def test_pickled_weights_are_refused_even_if_they_are_good(tmp_path, monkeypatch):
    folder = train(tmp_path / "model")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    careless = DiffusionPipeline.from_pretrained(folder, use_safetensors=False)
    assert isinstance(careless.unet, UNet2DModel)
    unpickled = []
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: unpickled.append(args))
    with pytest.raises(PipelineProblem, match=r"diffusion_pytorch_model\.safetensors"):
        opened(folder)
    assert unpickled == []


def stop_in_the_middle(self, folder, *args, **kwargs):
    (folder / "model_index.json").write_text("{")
    raise KeyboardInterrupt


def stop(*args, **kwargs):
    raise OSError("no space left on device")


@pytest.mark.parametrize("earlier", [False, True], ids=["first time", "over an earlier model"])
@pytest.mark.parametrize(
    ("owner", "name", "fault"),
    [
        (DDIMPipeline, "save_pretrained", stop_in_the_middle),
        (diffusion, "write_json", stop),
    ],
    ids=["while the pipeline is saved", "before the classes are"],
)
def test_an_interrupted_save_leaves_the_old_state(
    tmp_path, monkeypatch, owner, name, fault, earlier
):
    folder = tmp_path / "models/model"
    if earlier:
        train(folder, seed=1)
    before = {path: path.is_file() and digest(path.read_bytes()) for path in tmp_path.rglob("*")}
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fault)
        with pytest.raises((KeyboardInterrupt, OSError)):
            train(folder)
    after = {path: path.is_file() and digest(path.read_bytes()) for path in tmp_path.rglob("*")}
    assert after == before | {folder.parent: False}
    opened(train(folder))


def test_the_folder_appears_whole_in_one_rename(tmp_path, monkeypatch):
    """Whatever kills the writer before the rename, nothing has the final name."""
    folder, saved, seen = tmp_path / "model", DDIMPipeline.save_pretrained, []

    def save(self, target, *args, **kwargs):
        saved(self, target, *args, **kwargs)
        seen.append(folder.exists())

    def rename(source, target, _rename=os.replace):
        if target == folder:
            seen.append(folder.exists())
            opened(source)
        _rename(source, target)

    monkeypatch.setattr(DDIMPipeline, "save_pretrained", save)
    monkeypatch.setattr(folders.os, "replace", rename)
    train(folder)
    assert seen == [False, False]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (tmp_path / "other").mkdir()
    assert folder.stat().st_mode == (tmp_path / "other").stat().st_mode
