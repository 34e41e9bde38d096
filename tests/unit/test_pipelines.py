"""Stored pipelines as generators: every family on a small model of its class, against diffusers."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    CMStochasticIterativeScheduler,
    ConsistencyModelPipeline,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from workflow_scripts.configuration.generators import DiffusersGenerator
from workflow_scripts.files import FileProblem
from workflow_scripts.generators.pipelines import _batch_size, open_pipeline
from workflow_scripts.generators.pipelines.batches import Batches
from workflow_scripts.generators.pipelines.ddim import DdimSampler, ddim_scheduler
from workflow_scripts.generators.pipelines.generator import Denoising, PipelineGenerator
from workflow_scripts.generators.pipelines.loading import PipelineProblem
from workflow_scripts.generators.pipelines.spaces import Pixels
from workflow_scripts.generators.population import Population
from workflow_scripts.problems import Problem

ENTRY = DiffusersGenerator(
    kind="diffusers",
    folder="models/some",
    image={"size": 8, "channels": 3},
    sampling_steps=4,
).model_dump(mode="json")
PIXELS = {"image": {"size": 8, "channels": 3}}
LATENT = {"image": {"size": 16, "channels": 3}}
ASKED = LATENT | {"prompt": "a {class}"}
# The entry's keys and the generator's classes, by family.
FAMILIES = {
    "unconditional": (PIXELS, ("cat", "dog")),
    "conditional": (PIXELS, ("0", "2")),
    "consistency": (PIXELS, ("3", "1")),
    "dit": (LATENT, ("Tinca tinca", "7")),
    "sd": (ASKED, ("cat", "dog")),
    "xl": (ASKED, ("cat", "dog")),
}
LABELS = np.array([0, 1, 1, 0, 1])


def rng(seed=0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Small models


def small_unet(**changes) -> UNet2DModel:
    blocks = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    shape = {"sample_size": 8, "in_channels": 3, "out_channels": 3, "block_out_channels": (8,)}
    return UNet2DModel(**(shape | blocks | {"layers_per_block": 1, "norm_num_groups": 4} | changes))


def small_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=0.5,
    )


def small_tokenizer(folder) -> CLIPTokenizer:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    ends = [letter + "</w>" for letter in letters]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *ends]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({word: number for number, word in enumerate(words)}))
    merges.write_text("#version: 0.2\n")
    return CLIPTokenizer(str(vocabulary), str(merges), model_max_length=16)


def small_text_encoder(tokenizer, kind=CLIPTextModel):
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_attention_heads=2,
            num_hidden_layers=2,
            max_position_embeddings=16,
            projection_dim=16,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def small_prompted_unet(**changes) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        norm_num_groups=4,
        **changes,
    )


LATENT_BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def save_small(name: str, folder, scratch) -> None:
    torch.manual_seed(1)
    if name == "unconditional":
        pipeline = DDPMPipeline(small_unet(), DDPMScheduler(num_train_timesteps=100))
    elif name == "conditional":
        pipeline = DDIMPipeline(
            small_unet(num_class_embeds=3), DDIMScheduler(num_train_timesteps=100)
        )
    elif name == "consistency":
        pipeline = ConsistencyModelPipeline(
            small_unet(num_class_embeds=10), CMStochasticIterativeScheduler()
        )
    elif name == "dit":
        transformer = DiTTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            out_channels=8,
            num_layers=1,
            sample_size=8,
            norm_num_groups=4,
        )
        # A new transformer's blocks do nothing: their gates start at zero.
        for parameter in transformer.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        pipeline = DiTPipeline(transformer, small_vae(), DDIMScheduler(clip_sample=False))
    elif name == "sd":
        tokenizer = small_tokenizer(scratch)
        pipeline = StableDiffusionPipeline(
            small_vae(),
            small_text_encoder(tokenizer),
            tokenizer,
            small_prompted_unet(cross_attention_dim=16),
            EulerDiscreteScheduler(**LATENT_BETAS, steps_offset=1),
            None,
            None,
            requires_safety_checker=False,
        )
    else:
        tokenizer = small_tokenizer(scratch)
        pipeline = StableDiffusionXLPipeline(
            small_vae(),
            small_text_encoder(tokenizer),
            small_text_encoder(tokenizer, CLIPTextModelWithProjection),
            tokenizer,
            tokenizer,
            small_prompted_unet(
                cross_attention_dim=32,
                transformer_layers_per_block=(1, 1),
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=16 + 6 * 8,
            ),
            EulerAncestralDiscreteScheduler(**LATENT_BETAS, timestep_spacing="trailing"),
        )
    pipeline.save_pretrained(folder)
    if name == "dit":
        change_index(folder, id2label={"4": "tench, Tinca tinca", "7": "stork"})


def change_index(folder, **changes) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The folder of each family's small model."""
    root = tmp_path_factory.mktemp("stored")
    for name in FAMILIES:
        save_small(name, root / name, root)
    return root


@pytest.fixture
def copied(stored, tmp_path):
    """Copies a family's folder, to be changed."""

    def copy(name):
        return shutil.copytree(stored / name, tmp_path / name)

    return copy


def opened(folder, family=None, classes=None, **changes) -> PipelineGenerator:
    keys, names = FAMILIES[family or folder.name]
    return open_pipeline(folder, classes or names, ENTRY | keys | changes)


def difference(a: Population, b: Population) -> int:
    assert np.array_equal(a.labels, b.labels)
    assert np.array_equal(a.state["condition"], b.state["condition"])
    return np.abs(a.images.astype(int) - b.images).max()


# Every family


@pytest.fixture(params=FAMILIES)
def generator(request, stored):
    return opened(stored / request.param)


def both(generator, labels=LABELS, seed=0, **degree):
    first = generator.random(labels, rng(seed))
    return first, generator.vary(first, {"strength": 0.6} | degree, rng(seed + 1))


def test_images_labels_and_state_are_as_promised(generator):
    for population in both(generator):
        size, channels = generator.sampler.image
        assert population.images.shape == (5, size, size, channels)
        assert population.images.dtype == np.uint8 and population.images.std() > 1
        assert population.labels.dtype == population.state["condition"].dtype == np.int64
        assert np.array_equal(population.labels, LABELS)
        assert np.array_equal(
            population.state["condition"], generator.conditions[population.labels]
        )


def test_equal_random_generators_give_equal_bytes_in_any_order_of_calls(generator):
    first, varied = both(generator)
    # Global randomness must not matter.
    torch.manual_seed(9)
    again = generator.vary(first, {"strength": 0.6}, rng(1))
    assert difference(again, varied) == 0
    assert difference(generator.random(LABELS, rng(0)), first) == 0
    assert difference(generator.random(LABELS, rng(2)), first) > 0
    assert difference(generator.vary(first, {"strength": 0.6}, rng(2)), varied) > 0


def test_batches_change_nothing_but_rounding(generator):
    whole = both(generator)
    generator.batches.size = 2
    assert max(map(difference, both(generator), whole)) <= 1


def test_no_rows_work(generator):
    none = generator.random(LABELS[:0], rng())
    for population in (
        none,
        generator.vary(none, {"strength": 1}, rng()),
        generator.adopt(none, rng()),
    ):
        size, channels = generator.sampler.image
        assert population.images.shape == (0, size, size, channels)
        assert population.images.dtype == np.uint8
        assert population.state["condition"].shape == (0,)


def test_other_images_are_adopted_in_the_models_shape(generator):
    grey = np.full((3, 5, 5, 1), 200, np.uint8)
    theirs = Population(grey, np.array([1, 0, 1]), {"font": np.arange(3)})
    adopted = generator.adopt(theirs, rng())
    size, channels = generator.sampler.image
    assert adopted.images.shape == (3, size, size, channels) and (adopted.images == 200).all()
    assert np.array_equal(adopted.labels, theirs.labels)
    assert list(adopted.state) == ["condition"]
    assert np.array_equal(adopted.state["condition"], generator.conditions[theirs.labels])
    # What has another shape is fitted on the way in, too.
    unfitted = Population(grey, adopted.labels, adopted.state)
    varied = [generator.vary(p, {"strength": 0.5}, rng(1)) for p in (adopted, unfitted)]
    assert difference(*varied) == 0


def test_a_shape_that_the_model_does_not_make_is_refused(stored):
    for name, (keys, _) in FAMILIES.items():
        size = keys["image"]["size"]
        for image in ({"size": size + 1, "channels": 3}, {"size": size, "channels": 1}):
            with pytest.raises(PipelineProblem, match=f"makes {size}×{size}×3") as problem:
                opened(stored / name, image=image)
            assert str(stored / name) in str(problem.value)


def test_more_steps_than_the_model_was_trained_with_are_refused(stored):
    for name, most in (("conditional", 100), ("consistency", 40), ("dit", 1000)):
        with pytest.raises(PipelineProblem, match=f"sampling_steps: .* at most {most}"):
            opened(stored / name, sampling_steps=most + 1)
        generator = opened(stored / name)
        first = generator.random(LABELS, rng())
        with pytest.raises(PipelineProblem, match=f"sampling_steps: .* at most {most}"):
            generator.vary(first, {"strength": 0.1, "sampling_steps": most + 1}, rng())


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["conditional", "consistency", "dit", "sd"])
def test_half_precision_changes_little(stored, name, precision):
    narrow = opened(stored / name, precision=precision)
    part = narrow.sampler.create.unet if name == "sd" else narrow.sampler.network
    assert part.dtype == getattr(torch, precision)
    for a, b in zip(both(narrow), both(opened(stored / name)), strict=True):
        apart = np.abs(a.images.astype(float) - b.images).mean()
        assert apart < (2 if precision == "float16" else 8)


def test_overflow_is_a_problem_not_a_black_image(copied):
    folder = copied("conditional")
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    save_file(weights | {"conv_out.weight": weights["conv_out.weight"] * 1e6}, path)
    with pytest.raises(PipelineProblem, match=r"precision: .* float32"):
        opened(folder, precision="float16").random(LABELS, rng())


# Against diffusers' own pipelines


def given_noise(monkeypatch, module, shape, seed=0) -> None:
    """Let a pipeline start from what `rng(seed)` draws."""
    noise = torch.from_numpy(rng(seed).standard_normal((len(LABELS), *shape), dtype=np.float32))
    monkeypatch.setattr(f"diffusers.pipelines.{module}.randn_tensor", lambda *_, **__: noise)


def test_an_unconditional_model_runs_as_ddim_whatever_is_stored(stored, monkeypatch):
    folder = stored / "unconditional"
    ours = opened(folder).random(LABELS, rng())
    theirs = DDPMPipeline.from_pretrained(folder)
    given_noise(monkeypatch, "ddim.pipeline_ddim", (3, 8, 8))
    reference = DDIMPipeline(theirs.unet, theirs.scheduler)(
        batch_size=5, num_inference_steps=4, output_type="np"
    )
    assert np.abs(ours.images - reference.images * 255).max() <= 1
    assert not ours.state["condition"].any()


@pytest.mark.parametrize("guidance", [None, 0.5, 1.0, 3.0])
def test_a_transformer_runs_as_diffusers_runs_it(stored, monkeypatch, guidance):
    folder = stored / "dit"
    ours = opened(folder, guidance=guidance).random(LABELS, rng())
    given_noise(monkeypatch, "dit.pipeline_dit", (4, 8, 8))
    theirs = DiTPipeline.from_pretrained(folder, id2label=None)
    reference = theirs(
        [[4, 7][label] for label in LABELS],
        num_inference_steps=4,
        output_type="np",
        **({} if guidance is None else {"guidance_scale": guidance}),
    )
    assert np.abs(ours.images - reference.images * 255).max() <= 1


@pytest.mark.parametrize("steps", [1, 2, 4, 40])
def test_a_consistency_model_runs_as_diffusers_runs_it(stored, steps):
    folder = stored / "consistency"
    ours = opened(folder, sampling_steps=steps).random(LABELS, rng())
    draws = rng()
    noise = draws.standard_normal((5, 3, 8, 8), dtype=np.float32)
    seeds = draws.integers(2**63, size=5)
    reference = ConsistencyModelPipeline.from_pretrained(folder)(
        batch_size=5,
        class_labels=[[3, 1][label] for label in LABELS],
        num_inference_steps=steps,
        latents=torch.from_numpy(noise),
        generator=[torch.Generator().manual_seed(int(seed)) for seed in seeds],
        output_type="np",
    )
    assert np.abs(ours.images - reference.images * 255).max() <= 1


@pytest.mark.parametrize("name", ["sd", "xl"])
def test_a_text_model_gets_its_prompts_and_guidance(stored, name):
    theirs = {"sd": StableDiffusionPipeline, "xl": StableDiffusionXLPipeline}[name]
    prompts = {"cat": "two cats", "dog": "no cat"}
    ours = opened(stored / name, prompt=None, prompts=prompts, guidance=3.0)
    draws = rng()
    noise = draws.standard_normal((5, 4, 8, 8), dtype=np.float32)
    seeds = draws.integers(2**63, size=5)
    reference = theirs.from_pretrained(stored / name)(
        [["two cats", "no cat"][label] for label in LABELS],
        num_inference_steps=4,
        guidance_scale=3.0,
        latents=torch.from_numpy(noise),
        generator=[torch.Generator().manual_seed(int(seed)) for seed in seeds],
        output_type="np",
    )
    images = ours.random(LABELS, rng()).images
    assert np.abs(images - reference.images * 255).max() <= 1


# DDIM


class Linear:
    """Predicts c times what it sees."""

    conditions, guidance, device = 1, None, torch.device("cpu")

    def __init__(self, c):
        self.c = c

    def __call__(self, x, timestep, conditions, guidance):
        return self.c * x


class Gaussian:
    """The ideal prediction for classes N(mean, spread²) of every pixel.

    E[x₀ | x] = m + s²√ᾱ (x − √ᾱ m) / (s²ᾱ + 1 − ᾱ); ε and v follow from x = √ᾱ x₀ + √(1−ᾱ) ε and
    v = √ᾱ ε − √(1−ᾱ) x₀.
    """

    guidance, device = None, torch.device("cpu")

    def __init__(self, means, spread, scheduler):
        self.means, self.spread = torch.tensor(means), spread
        self.alphas, self.kind = scheduler.alphas_cumprod, scheduler.config.prediction_type
        self.conditions, self.classes = len(means), []

    def __call__(self, x, timestep, conditions, guidance):
        self.classes.append(conditions.numpy())
        a, m = self.alphas[timestep], self.means[conditions][:, None, None, None]
        gain = self.spread**2 * a.sqrt() / (self.spread**2 * a + 1 - a)
        x0 = m + gain * (x - a.sqrt() * m)
        noise = (x - a.sqrt() * x0) / (1 - a).sqrt()
        v = a.sqrt() * noise - (1 - a).sqrt() * x0
        return {"epsilon": noise, "sample": x0, "v_prediction": v}[self.kind]


def ideal(steps=20, means=(-0.5, 0.5), spread=0.2, **scheduler) -> PipelineGenerator:
    scheduler = DDIMScheduler(**scheduler)
    sampler = DdimSampler(Gaussian(means, spread, scheduler), Pixels(4, 1), scheduler)
    return PipelineGenerator(sampler, np.arange(len(means)), steps)


def flat(levels) -> Population:
    """Images of one level each, of class 0."""
    images = np.repeat(np.array(levels, np.uint8), 16).reshape(-1, 4, 4, 1)
    zeros = np.zeros(len(levels), dtype=np.int64)
    return Population(images, zeros, {"condition": zeros})


@settings(deadline=None, max_examples=30)
@given(st.floats(-0.9, 0.9), st.integers(1, 30), st.floats(0.01, 1))
def test_a_linear_model_follows_the_recursion(c, steps, strength):
    scheduler = DDIMScheduler(num_train_timesteps=60, clip_sample=False)
    generator = PipelineGenerator(
        DdimSampler(Linear(c), Pixels(4, 1), scheduler), np.zeros(1, int), steps
    )
    parents = flat([10, 200])
    varied = generator.vary(parents, {"strength": strength}, rng(3))
    # Equation 12 of arXiv 2010.02502 with σ = 0, on the linear schedule, in double precision.
    alphas = np.cumprod(1 - np.linspace(1e-4, 0.02, 60))
    times = np.arange(steps) * (60 // steps)
    last = times[max(1, round(strength * steps)) - 1]
    noise = rng(3).standard_normal((2, 1, 4, 4), dtype=np.float32)[:, 0]
    x = parents.images[..., 0] / 127.5 - 1
    x = np.sqrt(alphas[last]) * x + np.sqrt(1 - alphas[last]) * noise
    for t in times[times <= last][::-1]:
        before = alphas[t - 60 // steps] if t else 1.0
        x0 = (x - np.sqrt(1 - alphas[t]) * c * x) / np.sqrt(alphas[t])
        x = np.sqrt(before) * x0 + np.sqrt(1 - before) * c * x
    expected = ((x + 1) * 127.5).round().clip(0, 255)
    assert np.abs(varied.images[..., 0] - expected).max() <= 1


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_an_ideal_model_makes_its_classes_whatever_it_predicts(kind):
    images = ideal(50, prediction_type=kind).random(np.arange(400) % 2, rng()).images / 127.5 - 1
    for label, mean in enumerate((-0.5, 0.5)):
        # 3,200 pixels of sd 0.2: five standard errors are 0.018; a coarse DDIM loses some spread.
        assert abs(images[label::2].mean() - mean) < 0.03
        assert 0.17 < images[label::2].std() < 0.21
    assert np.abs(images - ideal(50).random(np.arange(400) % 2, rng()).images / 127.5 + 1).max() < (
        1.1 / 127.5
    )


def test_a_tiny_strength_keeps_the_image_and_a_larger_one_moves_further():
    generator = ideal(100, spread=0.4)
    parents = flat(np.linspace(20, 108, 60).round())
    distances = [
        np.abs(
            generator.vary(parents, {"strength": strength}, rng()).images.astype(float)
            - parents.images
        ).mean()
        for strength in (0.001, 0.1, 0.3, 0.6, 1)
    ]
    assert distances[0] < 2
    assert all(a < b for a, b in pairwise(distances)), distances


def test_full_strength_forgets_the_image():
    generator = ideal()
    dark, bright = (
        generator.vary(flat([level] * 50), {"strength": 1}, rng()).images for level in (0, 255)
    )
    assert np.abs(dark.mean() - bright.mean()) < 3


@settings(deadline=None)
@given(st.integers(1, 1000), st.floats(1e-6, 1))
def test_the_strength_is_the_share_of_steps(steps, strength):
    run = Denoising(steps, strength, None).run
    assert 1 <= run <= steps
    assert abs(run - strength * steps) <= 0.5 or run == 1


def test_the_degree_may_change_the_number_of_steps():
    generator = ideal(20)
    network = generator.sampler.network
    parents = flat([50])
    for degree, calls in (({}, 10), ({"sampling_steps": 6.0}, 3), ({"sampling_steps": 40}, 20)):
        network.classes.clear()
        generator.vary(parents, {"strength": 0.5} | degree, rng())
        assert len(network.classes) == calls
    network.classes.clear()
    generator.random(np.zeros(1, int), rng())
    assert len(network.classes) == 20


@pytest.mark.parametrize(
    ("stored_scheduler", "kept"),
    [
        (DDPMScheduler(beta_schedule="sigmoid"), {"clip_sample": True}),
        (DDPMScheduler(prediction_type="v_prediction", clip_sample=False), {"clip_sample": False}),
        (
            DDPMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing"),
            {"timestep_spacing": "trailing"},
        ),
        (DDPMScheduler(variance_type="learned_range", num_train_timesteps=4000), {}),
        (EulerDiscreteScheduler(**LATENT_BETAS, steps_offset=1), {"steps_offset": 1}),
    ],
)
def test_a_stored_schedule_is_kept(stored_scheduler, kept):
    scheduler = ddim_scheduler(stored_scheduler)
    assert isinstance(scheduler, DDIMScheduler)
    betas = stored_scheduler.betas.double().numpy()
    assert np.allclose(scheduler.alphas_cumprod, np.cumprod(1 - betas), atol=1e-5)
    assert scheduler.config.prediction_type == stored_scheduler.config.prediction_type
    assert scheduler.config.num_train_timesteps == len(betas)
    assert {key: scheduler.config[key] for key in kept} == kept


def test_latents_are_never_clipped(copied):
    folder = copied("dit")
    scheduler = {"_class_name": "DDPMScheduler", "clip_sample": True}
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(scheduler))
    assert opened(folder).sampler.scheduler.config.clip_sample is False


@pytest.mark.parametrize(
    ("name", "other", "found"),
    [
        ("unconditional", "consistency", "CMStochasticIterativeScheduler"),
        ("consistency", "conditional", "DDIMScheduler"),
    ],
)
def test_a_scheduler_of_another_family_is_refused(stored, copied, name, other, found):
    folder = copied(name)
    shutil.copytree(stored / other / "scheduler", folder / "scheduler", dirs_exist_ok=True)
    change_index(folder, scheduler=["diffusers", found])
    with pytest.raises(PipelineProblem, match=f"scheduler: found {found}"):
        opened(folder)


def test_learned_variances_are_left_out(stored, copied):
    folder = copied("conditional")
    config, path = folder / "unet/config.json", folder / "unet/diffusion_pytorch_model.safetensors"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"out_channels": 6}))
    weights = load_file(path)
    for name in ("conv_out.weight", "conv_out.bias"):
        weights[name] = torch.cat([weights[name], torch.randn_like(weights[name])])
    save_file(weights, path)
    for a, b in zip(both(opened(folder)), both(opened(stored / "conditional")), strict=True):
        assert difference(a, b) <= 1


def test_a_model_that_predicts_neither_is_refused(tmp_path):
    for changes, said in (
        ({"in_channels": 6}, "6 channels in, 3 out"),
        ({"sample_size": (8, 16)}, r"sample_size: found \[8, 16\]"),
        ({"class_embed_type": "timestep"}, "class_embed_type: found 'timestep'"),
    ):
        folder = tmp_path / next(iter(changes))
        DDPMPipeline(small_unet(**changes), DDPMScheduler()).save_pretrained(folder)
        with pytest.raises(PipelineProblem, match=said):
            opened(folder, "unconditional")


# Latents


def test_a_variation_in_latents_mixes_scaled_latents_and_noise(stored):
    generator = opened(stored / "dit", sampling_steps=10)
    parents = generator.random(LABELS, rng())
    generator.sampler.network = Linear(0.0)  # so that x₀ is x / √ᾱ at every step
    for strength, time in ((0.1, 0), (0.5, 400), (1, 900)):
        varied = generator.vary(parents, {"strength": strength}, rng(1))
        signal = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[time]
        noise = rng(1).standard_normal((5, 4, 8, 8), dtype=np.float32)
        vae = AutoencoderKL.from_pretrained(stored / "dit/vae", low_cpu_mem_usage=False)
        pixels = torch.from_numpy(parents.images).permute(0, 3, 1, 2) / 127.5 - 1
        with torch.no_grad():
            # The small autoencoder's scaling factor is a half.
            latents = vae.encode(pixels).latent_dist.mean * 0.5
            x = latents + float(np.sqrt((1 - signal) / signal)) * torch.from_numpy(noise)
            expected = (vae.decode(x / 0.5).sample.permute(0, 2, 3, 1) + 1) * 127.5
        assert np.abs(varied.images - expected.numpy().clip(0, 255)).max() <= 1


def test_guidance_can_be_a_degree(stored):
    first, plain = both(opened(stored / "dit", guidance=1.0))
    _, strong = both(opened(stored / "dit", guidance=6.0))
    generator = opened(stored / "dit", guidance=1.0)
    asked = generator.vary(first, {"strength": 0.6, "guidance": 6.0}, rng(1))
    steered = opened(stored / "dit", guidance=6.0).vary(first, {"strength": 0.6}, rng(1))
    assert difference(asked, steered) == 0 < difference(asked, plain)
    assert difference(strong, plain) > 0


def test_guidance_of_a_model_without_it_is_refused(stored):
    for name in ("unconditional", "conditional", "consistency"):
        with pytest.raises(PipelineProblem, match="guidance: found 2"):
            opened(stored / name, guidance=2.0)
        generator = opened(stored / name)
        first = generator.random(LABELS, rng())
        with pytest.raises(PipelineProblem, match="guidance: found 2"):
            generator.vary(first, {"strength": 1, "guidance": 2.0}, rng())


def test_an_older_name_of_the_transformer_class_works(stored, copied):
    folder = copied("dit")
    for name in ("model_index.json", "transformer/config.json"):
        text = (folder / name).read_text()
        assert "DiTTransformer2DModel" in text
        (folder / name).write_text(text.replace("DiTTransformer2DModel", "Transformer2DModel"))
    same = [opened(path).random(LABELS, rng()) for path in (folder, stored / "dit")]
    assert difference(*same) == 0


# Consistency


def sigmas(generator, **degree) -> list[float]:
    """The noise levels at which the network is asked in a variation."""
    seen = []
    handle = generator.sampler.network.unet.register_forward_pre_hook(
        lambda _, arguments: seen.append(float(np.exp(float(arguments[1]) / 250)))
    )
    first = generator.random(LABELS, rng())
    seen.clear()
    generator.vary(first, degree, rng(1))
    handle.remove()
    return seen


def karras(share: float) -> float:
    """σ at a share of the way from 0.002 to 80, evenly in σ^(1/7)."""
    return (0.002 ** (1 / 7) + share * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7


@pytest.mark.parametrize(
    ("strength", "steps", "levels"),
    [
        (1, 1, [39]),
        (1, 2, [39, 19]),
        (0.5, 2, [20, 19]),
        (0.25, 2, [10]),
        (1e-6, 1, [1]),
        (0.6, 4, [23, 19, 9]),
    ],
)
def test_the_strength_of_a_consistency_model_is_a_level_of_noise(stored, strength, steps, levels):
    found = sigmas(opened(stored / "consistency", sampling_steps=steps), strength=strength)
    assert found == pytest.approx([karras(level / 39) for level in levels], rel=1e-4)


def test_a_consistency_variation_is_the_image_and_noise(stored):
    generator = opened(stored / "consistency", sampling_steps=1)
    network, seen = generator.sampler.network, []
    first = generator.random(LABELS, rng())
    network.unet.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].numpy()))
    varied = generator.vary(first, {"strength": 0.4}, rng(1))
    sigma = karras(16 / 39)
    noise = rng(1).standard_normal((5, 3, 8, 8), dtype=np.float32)
    image = first.images.transpose(0, 3, 1, 2) / 127.5 - 1
    x = image + np.sqrt(sigma**2 - 0.002**2) * noise
    assert np.allclose(seen[0], x / np.sqrt(sigma**2 + 0.25), atol=1e-4)
    # Next to no noise is next to no change: f(x, σ_min) = x.
    kept = generator.vary(first, {"strength": 1e-6}, rng(1)).images.astype(float)
    assert np.abs(kept - first.images).mean() < 2
    assert np.abs(varied.images.astype(float) - first.images).mean() > 5


# Text


def test_prompts_hold_the_class(stored):
    generator = opened(stored / "sd", prompt="a {class} in a {class}")
    assert generator.sampler.prompts == ["a cat in a cat", "a dog in a dog"]
    for prompts, missing in (({}, r"\['cat', 'dog'\]"), ({"cat": "a cat"}, r"\['dog'\]")):
        with pytest.raises(PipelineProblem, match=f"prompts: found none for {missing}"):
            opened(stored / "sd", prompt=None, prompts=prompts)


def test_a_placeholder_other_than_the_class_is_refused():
    for asked in ({"prompt": "a {klass}"}, {"prompts": {"cat": "a {name}"}}):
        with pytest.raises(ValueError, match=r"prompts: found {\w+}; allowed: {class}"):
            DiffusersGenerator(**(ENTRY | asked))


def test_a_prompt_for_a_model_without_text_is_refused(stored):
    for asked in ({"prompt": "a cat"}, {"prompts": {"0": "a", "2": "b"}}):
        with pytest.raises(PipelineProblem, match="DDIMPipeline is not asked with a prompt"):
            opened(stored / "conditional", **asked)


@pytest.mark.parametrize("name", ["sd", "xl"])
def test_text_variations_run_the_share_of_steps(stored, name):
    generator = opened(stored / name, sampling_steps=50, guidance=1.0)
    first = generator.random(LABELS[:1], rng())
    calls = []
    generator.sampler.edit.unet.register_forward_pre_hook(lambda *_: calls.append(0))
    # 0.58 × 50 is 28.999… in binary.
    for strength, expected in ((1, 50), (0.58, 29), (0.02, 1), (0.001, 1)):
        calls.clear()
        generator.vary(first, {"strength": strength}, rng())
        assert len(calls) == expected


def test_a_weak_text_variation_is_near_and_a_strong_one_far(stored):
    generator = opened(stored / "sd", sampling_steps=20, guidance=1.0)
    first = generator.random(LABELS, rng())
    rebuilt = generator.vary(first, {"strength": 0.05}, rng(1)).images.astype(float)
    half, full = (
        np.abs(generator.vary(first, {"strength": s}, rng(2)).images - rebuilt).mean()
        for s in (0.5, 1)
    )
    again = np.abs(generator.vary(first, {"strength": 0.05}, rng(2)).images - rebuilt).mean()
    assert again < half < full


def test_no_safety_checker_is_loaded_or_needed(copied):
    folder = copied("sd")
    change_index(
        folder,
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPImageProcessor"],
        requires_safety_checker=True,
    )
    generator = opened(folder)
    assert generator.sampler.create.safety_checker is generator.sampler.edit.safety_checker is None
    both(generator)


# Conditions


def test_classes_are_found_by_number_or_by_any_of_their_names(stored):
    assert opened(stored / "conditional").conditions.tolist() == [0, 2]
    for names in (("tench", "stork"), ("tench, Tinca tinca", "7"), ("Tinca tinca", "stork")):
        assert opened(stored / "dit", classes=names).conditions.tolist() == [4, 7]


def test_names_beside_the_pipeline_replace_numbers(copied):
    folder = copied("conditional")
    # The names are numbers themselves, and other ones.
    (folder / "classes.json").write_text('["1", "2", "3"]')
    assert opened(folder, classes=("3", "1")).conditions.tolist() == [2, 0]
    with pytest.raises(PipelineProblem, match=r"no class \['0'\]; it has 1, 2, 3"):
        opened(folder, classes=("0", "1"))
    for wrong in ('["a", "b"]', '{"a": 0}'):
        (folder / "classes.json").write_text(wrong)
        with pytest.raises(FileProblem, match=r"classes\.json: .* 3 classes"):
            opened(folder)


@pytest.mark.parametrize("classes", [("0", "3"), ("cat", "1"), ("-1", "0"), ("1.0", "1")])
def test_an_unknown_class_is_named(stored, classes):
    with pytest.raises(PipelineProblem, match=r"it has 0, 1, 2$") as problem:
        opened(stored / "conditional", classes=classes)
    unknown = next(name for name in classes if name not in ("0", "1", "2"))
    assert repr(unknown) in str(problem.value)


def test_the_list_of_known_classes_is_cut(stored):
    with pytest.raises(PipelineProblem, match="…") as problem:
        opened(stored / "dit", classes=("nothing", "0"))
    assert len(str(problem.value)) < 400


def test_random_conditions_are_uniform_and_inherited(stored):
    generator = opened(stored / "conditional", classes=("any", "thing"), conditions="random")
    labels = np.arange(600) % 2
    first = generator.random(labels, rng())
    # 200 expected of each class, sd 11.5.
    assert np.abs(np.bincount(first.state["condition"], minlength=3) - 200).max() < 60
    assert len(np.unique(first.state["condition"][labels == 0])) == 3
    asked = []
    generator.sampler.network.unet.register_forward_pre_hook(
        lambda _, arguments, keywords: asked.append(keywords["class_labels"].numpy()),
        with_kwargs=True,
    )
    varied = generator.vary(first, {"strength": 0.3}, rng(5))
    assert np.array_equal(varied.state["condition"], first.state["condition"])
    assert np.array_equal(np.concatenate(asked), first.state["condition"])
    adopted = generator.adopt(first, rng(8))
    assert not np.array_equal(adopted.state["condition"], first.state["condition"])
    assert np.abs(np.bincount(adopted.state["condition"], minlength=3) - 200).max() < 60


def test_random_prompts_are_drawn_among_the_classes(stored):
    generator = opened(stored / "sd", conditions="random", sampling_steps=1)
    assert set(generator.random(np.zeros(12, int), rng()).state["condition"]) == {0, 1}


def test_each_row_has_the_class_of_its_label(stored):
    generator = opened(stored / "conditional")
    images = [
        generator.random(np.array(labels), rng()).images.astype(int)
        for labels in ([0, 1, 1], [0, 1, 0])
    ]
    apart = np.abs(images[0] - images[1]).max(axis=(1, 2, 3))
    assert apart[:2].max() <= 1 < apart[2]


# Batches


@pytest.fixture
def small_memory(monkeypatch):
    """A network whose memory holds three images; the batches that it was tried with."""
    tried, forward = [], UNet2DModel.forward

    def limited(self, sample, *args, **kwargs):
        tried.append(len(sample))
        if len(sample) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(self, sample, *args, **kwargs)

    def limit():
        monkeypatch.setattr(UNet2DModel, "forward", limited)
        return tried

    return limit


@pytest.mark.parametrize("name", ["conditional", "consistency"])
def test_batches_are_halved_until_they_fit_and_stay_so(stored, small_memory, name):
    labels = np.arange(10) % 2
    whole = both(opened(stored / name, sampling_steps=1), labels)
    tried = small_memory()
    generator = opened(stored / name, sampling_steps=1)
    first = generator.random(labels, rng())
    assert tried == [10, 5, 2, 2, 2, 2, 2]
    tried.clear()
    varied = generator.vary(first, {"strength": 0.6}, rng(1))
    assert tried == [2] * 5
    assert difference(first, whole[0]) <= 1 and difference(varied, whole[1]) <= 1


def test_a_single_image_that_does_not_fit_is_an_error():
    def never(rows):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        Batches(None).run(never, 7)


@given(st.integers(1, 50), st.one_of(st.none(), st.integers(1, 60)), st.integers(1, 60))
def test_every_row_is_computed_once_in_order(n, size, limit):
    def compute(rows):
        if rows.stop - rows.start > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return np.arange(n)[rows]

    assert np.array_equal(Batches(size).run(compute, n), np.arange(n))


def test_the_first_batch():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    entry = ENTRY | {"batch_size": 7}
    assert _batch_size(entry, (64, 3), gpu) == _batch_size(entry, (64, 3), cpu) == 7
    assert _batch_size(ENTRY, (64, 3), gpu) is None
    # A block of small images at once, a large one alone.
    assert _batch_size(ENTRY, (28, 1), cpu) > 500 and _batch_size(ENTRY, (1024, 3), cpu) == 1
    # In an entry of a trained pipeline it is the batch size of training.
    assert _batch_size({"kind": "diffusion", "batch_size": 3}, (28, 1), cpu) > 500


# Folders


@pytest.mark.parametrize(
    ("name", "part", "file"),
    [
        ("conditional", "unet", "diffusion_pytorch_model"),
        ("dit", "vae", "diffusion_pytorch_model"),
        ("sd", "text_encoder", "model"),
    ],
)
def test_pickled_weights_are_refused(copied, monkeypatch, name, part, file):
    folder = copied(name)
    weights = folder / part / f"{file}.safetensors"
    pickled = "pytorch_model.bin" if file == "model" else f"{file}.bin"
    torch.save(load_file(weights), folder / part / pickled)
    weights.unlink()
    unpickled = []
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: unpickled.append(args))
    with pytest.raises(PipelineProblem, match="not a diffusers pipeline in safetensors") as problem:
        opened(folder)
    assert str(folder) in str(problem.value) and "\n" not in str(problem.value)
    assert unpickled == []


def test_a_damaged_weight_file_is_named(copied):
    folder = copied("conditional")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(PipelineProblem, match=str(folder)):
        opened(folder)


def test_weights_of_another_shape_are_named(copied):
    folder = copied("conditional")
    config = folder / "unet/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_class_embeds": 4}))
    with pytest.raises(PipelineProblem, match=str(folder)):
        opened(folder)


def test_code_in_the_folder_is_not_run(copied):
    folder = copied("conditional")
    marker = folder.parent / "ran"
    code = f"open({str(marker)!r}, 'w').close()\n"
    for path in (folder / "unet/diffusers.py", folder / "unet/mine.py", folder / "pipeline.py"):
        path.write_text(code)
    with pytest.raises(PipelineProblem, match=r"unet/\w+\.py: found code"):
        opened(folder)
    for path in (folder / "unet").glob("*.py"):
        path.unlink()
    both(opened(folder))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"_class_name": "FluxPipeline"}, "_class_name: found 'FluxPipeline'; allowed: DDPM"),
        ({"_class_name": ["pipeline", "Mine"]}, "_class_name: found"),
        ({"unet": ["os", "UNet2DModel"]}, "unet: found a class of 'os'; allowed: diffusers"),
        ({"unet": ["diffusers", "UNet2DConditionModel"]}, "not a diffusers pipeline|unet: found"),
        ({"unet": ["diffusers", "NoSuchModel"]}, "not a diffusers pipeline"),
        ({"unet": None}, "not a diffusers pipeline"),
    ],
)
def test_an_index_that_is_not_understood_is_refused(copied, changes, said):
    folder = copied("conditional")
    change_index(folder, **changes)
    with pytest.raises(PipelineProblem, match=said) as problem:
        opened(folder)
    assert str(folder) in str(problem.value) or "unet" in str(problem.value)


def test_a_folder_without_an_index_is_named(tmp_path):
    for content in (None, "{", "[]"):
        if content:
            (tmp_path / "model_index.json").write_text(content)
        with pytest.raises(Problem, match=r"model_index\.json"):
            opened(tmp_path, "conditional")
