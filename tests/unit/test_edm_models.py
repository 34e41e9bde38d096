"""Denoisers as models: trained on a toy, stored, opened as generators and as pipelines."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import nn

from workflow_scripts.edm import training as module
from workflow_scripts.edm.denoiser import denoising_losses, new_denoiser
from workflow_scripts.edm.pipeline import EdmPipeline
from workflow_scripts.edm.storage import open_denoiser, save_denoiser
from workflow_scripts.edm.training import train_denoiser
from workflow_scripts.files import digest
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.pipelines.loading import PipelineProblem
from workflow_scripts.generators.population import Population

CLASSES = ("left", "right", "none")
NETWORK = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (2,)}
TRAINING = {
    "batch_size": 64,
    "training_steps": 400,
    "learning_rate": 5e-3,
    "ema": 0.99,
    "label_dropout": 0.1,
    "flip": False,
}
SHORT = TRAINING | {"training_steps": 3, "batch_size": 8}
SAMPLINGS = {
    "ddim": {"sampler": "ddim", "steps": 10},
    "heun": {"sampler": "heun", "steps": 6},
    "churn": {"sampler": "churn", "steps": 10, "churn": 4.0},
    "stochastic-ddim": {"sampler": "stochastic-ddim", "steps": 10},
}
LABELS = np.array([2, 0, 1, 1, 0, 2, 1])


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


def train(start=None, seed=0, channels=1, **changes):
    return train_denoiser(
        NETWORK, *toy(channels=channels), CLASSES, SHORT | changes, seed, start=start
    )


def weights_of(denoiser) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in denoiser.state_dict().items()}


def equal(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a model that has learned the toy classes."""
    folder = tmp_path_factory.mktemp("trained") / "pipeline"
    denoiser = train_denoiser(NETWORK, *toy(), CLASSES, TRAINING, 0)
    save_denoiser(folder, denoiser, CLASSES, SAMPLINGS["heun"])
    return folder


def opened(folder, sampling="ddim", classes=CLASSES, **changes):
    settings = {"kind": "edm", "sampling": SAMPLINGS[sampling] | changes}
    return open_generator(settings, classes, [folder])


# Training


def test_equal_seeds_give_equal_weights_and_other_seeds_others():
    found = []
    for seed in (0, 0, 1):
        # The state of the global random generators must not matter.
        torch.manual_seed(len(found))
        np.random.seed(len(found))
        found.append(weights_of(train(seed=seed)))
    assert equal(found[0], found[1]) and not equal(found[0], found[2])


def test_training_reduces_the_loss(trained):
    images, labels = toy()
    x = torch.from_numpy(images.transpose(0, 3, 1, 2)).float() / 127.5 - 1
    rng = np.random.default_rng(5)
    sigma = torch.from_numpy(np.exp(rng.normal(-1.2, 1.2, len(x))).astype(np.float32))
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
    new = new_denoiser(NETWORK, (4, 1), 3, 0, null_class=True)
    before, after = (
        denoising_losses(denoiser, x, torch.from_numpy(labels), sigma, noise).mean().item()
        for denoiser in (new, open_denoiser(trained))
    )
    assert after < before / 3


def test_the_average_warms_up(monkeypatch):
    """Weights of three steps, averaged with decays of 2/11 and 3/12 (the first is taken whole)."""
    seen, step = [], torch.optim.Adam.step

    def note(self, *args, **kwargs):
        step(self, *args, **kwargs)
        seen.append([p.detach().clone() for group in self.param_groups for p in group["params"]])

    monkeypatch.setattr(torch.optim.Adam, "step", note)
    found = list(train().parameters())
    average = seen[0]
    for n, weights in enumerate(seen[1:], start=1):
        decay = (1 + n) / (10 + n)
        average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(average, found, strict=True))


def test_labels_are_dropped_and_images_mirrored_as_asked(monkeypatch):
    seen = []

    def note(denoiser, x, y, sigma, noise):
        seen.append((x.numpy(), y.numpy()))
        return denoising_losses(denoiser, x, y, sigma, noise)

    monkeypatch.setattr(module, "denoising_losses", note)
    train(training_steps=20, batch_size=50, label_dropout=0.3, flip=True)
    x, y = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    # 1000 draws: a standard error of 0.0145, and of 0.022 among the 470 with one bright half.
    assert np.mean(y == 3) == pytest.approx(0.3, abs=0.07)
    assert np.mean(sides((x.transpose(0, 2, 3, 1) + 1) * 127.5)[y == 0]) == pytest.approx(
        0.5, abs=0.15
    )
    seen.clear()
    never = train(training_steps=4, label_dropout=0.0)
    assert never.null is None
    x, y = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    assert np.array_equal(sides((x.transpose(0, 2, 3, 1) + 1) * 127.5), y)


def test_training_goes_on_from_weights_whatever_their_kind():
    start = train()
    before = weights_of(start)
    more = train(start=start, seed=1)
    assert more is start and not equal(before, weights_of(more))
    unmoved = train(start=start, learning_rate=1e-12)
    assert all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(weights_of(unmoved).values(), weights_of(more).values(), strict=True)
    )


# Generators


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_sampler_draws_the_classes(trained, sampling):
    labels = np.arange(60) % 3
    population = opened(trained, sampling).random(labels, np.random.default_rng(0))
    # By chance a third would match; the toy is easy.
    assert np.mean(sides(population.images) == labels) > 0.9
    assert np.array_equal(population.labels, labels)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_batches_change_nothing_but_rounding(trained, sampling):
    generator = opened(trained, sampling)
    found = []
    for size in (None, 3, 1):
        generator.batches.size = size
        first = generator.random(LABELS, np.random.default_rng(0))
        varied = generator.vary(first, {"strength": 0.6}, np.random.default_rng(1))
        found.append(np.stack([first.images, varied.images]).astype(int))
    assert max(np.abs(found[0] - other).max() for other in found[1:]) <= 1
    assert np.abs(found[0][0] - found[0][1]).max() > 20


def test_random_starts_from_the_highest_level_and_ends_without_noise(trained):
    generator, asked = opened(trained), []
    generator.sampler.denoiser.register_forward_pre_hook(lambda _, a: asked.append(a))
    generator.random(LABELS, np.random.default_rng(7))
    noise = np.random.default_rng(7).standard_normal((7, 1, 4, 4), dtype=np.float32)
    x, sigma, conditions = asked[0]
    assert len(asked) == 10 and sigma == pytest.approx(80) and asked[-1][1] == pytest.approx(0.002)
    assert np.allclose(x, 80 * noise, rtol=1e-5) and np.array_equal(conditions, LABELS)


@pytest.mark.parametrize(("strength", "calls"), [(1, 10), (0.7, 7), (0.34, 3), (0.01, 1)])
def test_a_variation_noises_its_parent_to_the_first_step_that_is_run(trained, strength, calls):
    generator, asked = opened(trained), []
    generator.sampler.denoiser.register_forward_pre_hook(lambda _, a: asked.append(a))
    images, labels = toy(6)
    parents = Population(images, labels, {"condition": np.full(6, 2)})
    varied = generator.vary(parents, {"strength": strength}, np.random.default_rng(5))
    assert len(asked) == calls
    low, high, place = 0.002 ** (1 / 7), 80 ** (1 / 7), (10 - calls) / 9
    sigma = (high + place * (low - high)) ** 7
    x, found, conditions = asked[0]
    noise = np.random.default_rng(5).standard_normal((6, 1, 4, 4), dtype=np.float32)
    clean = images.transpose(0, 3, 1, 2) / 127.5 - 1
    assert found == pytest.approx(sigma) and (conditions == 2).all()
    assert np.allclose(x, clean + sigma * noise, atol=1e-4)
    assert np.array_equal(varied.labels, labels)


def test_a_stronger_variation_leaves_less_of_the_image(trained):
    images, labels = toy(60)
    left = Population(images[labels == 0], labels[labels == 0], {"condition": np.full(20, 1)})
    changes, turned = [], []
    for strength in (0.1, 0.6, 1):
        varied = opened(trained).vary(left, {"strength": strength}, np.random.default_rng(0)).images
        changes.append(np.abs(varied.astype(float) - left.images).mean())
        turned.append(np.mean(sides(varied) == 1))
    assert changes[0] < 15 and changes[0] < changes[1] < changes[2], changes
    # Little noise keeps the left half; all of it leaves only the condition.
    assert turned[0] == 0 and turned[-1] > 0.8, turned


def test_classes_are_found_by_name_and_images_adopted(trained):
    generator = opened(trained, classes=("none", "left"))
    drawn = generator.random(np.array([0, 1, 0]), np.random.default_rng(0))
    assert drawn.state["condition"].tolist() == [2, 0, 2]
    grey = Population(np.full((2, 9, 9, 3), 7, np.uint8), np.array([1, 0]), {})
    adopted = generator.adopt(grey, np.random.default_rng(0))
    assert adopted.images.shape == (2, 4, 4, 1) and adopted.state["condition"].tolist() == [0, 2]
    with pytest.raises(PipelineProblem, match="'top'"):
        opened(trained, classes=("top", "left"))


# Folders


@torch.no_grad()
def test_a_stored_denoiser_is_the_same(tmp_path, trained):
    denoiser = open_denoiser(trained)
    save_denoiser(tmp_path / "again", denoiser, CLASSES)
    again = open_denoiser(tmp_path / "again")
    x, labels = torch.randn(3, 1, 4, 4), torch.tensor([0, 3, 1])
    assert torch.equal(denoiser(x, 0.7, labels), again(x, 0.7, labels))
    assert (again.shape, again.classes, again.null) == ((1, 4, 4), 3, 3)
    assert not again.training
    scales = again.preconditioning
    assert (scales.lowest, scales.highest) == (0.002, 80.0)
    assert scales.sigma_data == pytest.approx(3**-0.5)


def test_the_folder_holds_no_pickle_and_is_the_same_for_the_same_model(tmp_path):
    digests = []
    for name in ("one", "two"):
        save_denoiser(tmp_path / name, train(channels=3), CLASSES, SAMPLINGS["churn"])
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        assert {path.suffix for path in files} == {".json", ".safetensors"}
        digests.append({str(f.relative_to(tmp_path / name)): digest(f.read_bytes()) for f in files})
    assert digests[0] == digests[1]
    assert json.loads((tmp_path / "one/classes.json").read_text()) == list(CLASSES)


def test_an_interrupted_save_leaves_nothing(tmp_path, monkeypatch):
    def stop(self, folder, *args, **kwargs):
        (folder / "model_index.json").write_text("{")
        raise KeyboardInterrupt

    monkeypatch.setattr(EdmPipeline, "save_pretrained", stop)
    with pytest.raises(KeyboardInterrupt):
        save_denoiser(tmp_path / "model", train(), CLASSES)
    assert list(tmp_path.iterdir()) == []


def test_users_can_ask_the_pipeline_itself(trained):
    pipeline = EdmPipeline.from_pretrained(trained, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert dict(pipeline.config.sampling) == SAMPLINGS["heun"]
    labels = LABELS.tolist()
    images = pipeline(labels, generator=torch.Generator().manual_seed(0)).images
    assert len(images) == 7 and images[0].size == (4, 4) and images[0].mode == "L"
    pixels = pipeline(labels, 12, torch.Generator().manual_seed(0), output_type="pt").images
    found = sides(pixels.permute(0, 2, 3, 1).numpy() * 255)
    assert pixels.shape == (7, 1, 4, 4) and np.mean(found == LABELS) > 0.8
    assert len(pipeline(1).images) == 1


def test_a_stored_pipeline_opens_as_one_of_diffusers_with_its_own_sampler(trained):
    settings = {"kind": "diffusers", "sampling_steps": 6, "batch_size": "auto"}
    theirs = open_generator(settings, CLASSES, [trained])
    expected = opened(trained, "heun").random(LABELS, np.random.default_rng(0)).images
    found = theirs.random(LABELS, np.random.default_rng(0)).images
    assert np.array_equal(found, expected)
    half = open_generator(settings | {"precision": "bfloat16"}, CLASSES, [trained])
    rounded = half.random(LABELS, np.random.default_rng(0)).images
    assert np.abs(rounded.astype(float) - expected).mean() < 10


def test_other_classes_and_code_are_refused(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    changed = index | {"unet": ["workflow_scripts.edm.training", "SongUnet"]}
    (folder / "model_index.json").write_text(json.dumps(changed))
    with pytest.raises(PipelineProblem, match=r"unet: found a class of 'workflow_scripts"):
        open_denoiser(folder)
    changed = index | {"unet": ["workflow_scripts.edm.network", "Block"]}
    (folder / "model_index.json").write_text(json.dumps(changed))
    with pytest.raises(PipelineProblem):
        open_denoiser(folder)
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "unet/network.py").write_text("raise SystemExit")
    with pytest.raises(PipelineProblem, match="found code"):
        open_denoiser(folder)


# Models that predict noise


@pytest.fixture(params=[DDPMPipeline, DDIMPipeline])
def foreign(request, tmp_path):
    """A pipeline of diffusers as a hub has it."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=4,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=["DownBlock2D"],
        up_block_types=["UpBlock2D"],
        num_class_embeds=3,
    )
    for parameter in unet.parameters():
        nn.init.normal_(parameter, std=0.1)
    schedule = DDPMScheduler if request.param is DDPMPipeline else DDIMScheduler
    request.param(unet, schedule(num_train_timesteps=100)).save_pretrained(tmp_path / "foreign")
    return tmp_path / "foreign"


def test_a_noise_prediction_is_trained_stored_and_sampled_in_the_same_way(foreign, tmp_path):
    start = open_denoiser(foreign)
    before = weights_of(start)
    denoiser = train(start=start, training_steps=100, batch_size=32, learning_rate=3e-3)
    assert not equal(before, weights_of(denoiser))
    save_denoiser(tmp_path / "tuned", denoiser, CLASSES)
    again = open_denoiser(tmp_path / "tuned")
    x, labels = torch.randn(3, 1, 4, 4), torch.tensor([0, 2, 1])
    with torch.no_grad():
        assert torch.equal(denoiser(x, 0.7, labels), again(x, 0.7, labels))
    for sampling in SAMPLINGS:
        drawn = opened(tmp_path / "tuned", sampling).random(LABELS, np.random.default_rng(0))
        assert drawn.images.shape == (7, 4, 4, 1)
    DDIMPipeline.from_pretrained(tmp_path / "tuned", local_files_only=True)


def test_another_prediction_is_refused(foreign):
    path = foreign / "scheduler/scheduler_config.json"
    config = json.loads(path.read_text()) | {"prediction_type": "v_prediction"}
    path.write_text(json.dumps(config))
    with pytest.raises(PipelineProblem, match="prediction_type: found 'v_prediction'"):
        open_denoiser(foreign)
