"""Preconditioning and loss, against the paper's formulas and diffusers' own predictions."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DModel
from torch import nn

from workflow_scripts.edm.denoiser import (
    Denoiser,
    EdmPreconditioning,
    NoisePrediction,
    denoising_losses,
    draw_levels,
    new_denoiser,
    with_classes,
)

NETWORK = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,)}
SIGMA_DATA = 3**-0.5
LABELS = torch.tensor([0, 2, 1])


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module.eval()


@pytest.fixture
def denoiser() -> Denoiser:
    return randomised(new_denoiser(NETWORK, (8, 1), 3, 0, null_class=True))


def noise_predictor(**changes) -> Denoiser:
    unet = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=["DownBlock2D"],
        up_block_types=["UpBlock2D"],
        num_class_embeds=3,
    )
    scheduler = DDIMScheduler(**({"num_train_timesteps": 100, "clip_sample": False} | changes))
    return Denoiser(randomised(unet), NoisePrediction(scheduler))


def images(n: int = 3) -> torch.Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1


def noise(n: int = 3) -> torch.Tensor:
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(3))


# Preconditioning


@torch.no_grad()
def test_without_noise_an_image_stays_as_it_is(denoiser):
    assert torch.allclose(denoiser(images(), 1e-6, LABELS), images(), atol=1e-4)


@torch.no_grad()
def test_a_new_denoiser_shrinks_towards_the_mean(denoiser):
    """Without a network it is the best linear estimate for data of variance σ_d²."""
    new = new_denoiser(NETWORK, (8, 1), 3, 0, null_class=False)
    x = images() + 2 * noise()
    assert torch.allclose(new(x, 2.0, LABELS), x / 3 / (1 / 3 + 4), atol=1e-6)


@pytest.mark.parametrize("sigma", [0.002, 0.3, 1.0, 80.0])
def test_inputs_and_targets_have_unit_variance(sigma):
    rng = np.random.default_rng(0)
    # 100,000 numbers: a standard error of the variance is 0.0045 at most.
    x = rng.uniform(-1, 1, 100_000)
    noisy = x + sigma * rng.standard_normal(x.shape)
    skip, out, into, level = (
        scale.item() for scale in EdmPreconditioning().scales(torch.tensor(sigma).double())
    )
    assert np.var(into * noisy) == pytest.approx(1, abs=0.02)
    assert np.var((x - skip * noisy) / out) == pytest.approx(1, abs=0.02)
    assert level == pytest.approx(np.log(sigma) / 4)


@torch.no_grad()
def test_the_network_is_called_as_equation_7_has_it(denoiser):
    x, sigma = images() + noise(), torch.tensor([0.1, 1.0, 10.0])
    total = (sigma**2 + 1 / 3).sqrt()
    output = denoiser.network(
        x / total[:, None, None, None], sigma.log() / 4, class_labels=LABELS
    ).sample
    skip, out = (1 / 3) / total**2, sigma * SIGMA_DATA / total
    expected = skip[:, None, None, None] * x + out[:, None, None, None] * output
    assert torch.allclose(denoiser(x, sigma, LABELS), expected, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("schedule", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("timestep", [0, 37, 90])
def test_a_noise_prediction_denoises_as_diffusers_does(schedule, timestep):
    model = noise_predictor(beta_schedule=schedule)
    scheduler = model.preconditioning.scheduler
    alpha = scheduler.alphas_cumprod[timestep].item()
    mixed = scheduler.add_noise(images(), noise(), torch.full((3,), timestep))
    scheduler.set_timesteps(100)
    predicted = model.network(mixed, timestep, class_labels=LABELS).sample
    expected = scheduler.step(predicted, timestep, mixed).pred_original_sample
    sigma = ((1 - alpha) / alpha) ** 0.5
    assert torch.allclose(model(mixed / alpha**0.5, sigma, LABELS), expected, atol=1e-3, rtol=1e-3)


def test_levels_between_two_time_steps_are_told_as_between():
    precondition = noise_predictor().preconditioning
    sigmas = precondition.sigmas
    between = (sigmas[40] * sigmas[41]).sqrt()
    asked = torch.stack([sigmas[0] / 9, sigmas[0], between, sigmas[99], 9 * sigmas[99]])
    assert torch.allclose(
        precondition.scales(asked).noise, torch.tensor([0, 0, 40.5, 99, 99]).double()
    )
    # Samplers stay within what the network was trained on.
    assert precondition.lowest == pytest.approx(sigmas[0].item())
    assert precondition.highest == pytest.approx(min(80, sigmas[99].item()))


@torch.no_grad()
def test_learned_variances_are_left_out():
    model = noise_predictor()
    wide = UNet2DModel.from_config(model.network.config, out_channels=2)
    assert Denoiser(wide, model.preconditioning)(noise(), 1.0, LABELS).shape == (3, 1, 8, 8)


# Loss


def test_the_loss_is_the_weighted_error_of_each_row(denoiser):
    sigma = torch.tensor([0.05, 0.5, 5.0])
    losses = denoising_losses(denoiser, images(), LABELS, sigma, noise())
    for row in range(3):
        level, one = sigma[row].item(), slice(row, row + 1)
        noisy = images()[one] + level * noise()[one]
        error = (denoiser(noisy, level, LABELS[one]) - images()[one]).square().mean()
        weight = (level**2 + 1 / 3) / (level**2 / 3)
        assert losses[row].item() == pytest.approx(weight * error.item(), rel=1e-4)


def test_the_weight_makes_every_level_equally_hard():
    """A new network returns nothing: the loss is then the variance of its target, 1."""
    new = new_denoiser(NETWORK, (8, 1), None, 0, null_class=False)
    for sigma in (0.01, 0.3, 40.0):
        # 32,000 numbers: five standard errors are 0.04.
        losses = denoising_losses(new, images(500), None, torch.full((500,), sigma), noise(500))
        assert losses.mean().item() == pytest.approx(1, abs=0.04)


def test_levels_are_log_normal():
    levels = draw_levels(np.random.default_rng(0), 10_000)
    assert levels.dtype == np.float32
    # Standard errors: 0.012 and 0.0085.
    assert np.log(levels).mean() == pytest.approx(-1.2, abs=0.06)
    assert np.log(levels).std() == pytest.approx(1.2, abs=0.04)


# Classes


def test_the_null_class_is_the_one_after_the_last(denoiser):
    assert (denoiser.classes, denoiser.null) == (3, 3)
    assert denoiser(noise(), 1.0, torch.tensor([3, 0, 3])).shape == (3, 1, 8, 8)
    without = new_denoiser(NETWORK, (8, 1), 3, 0, null_class=False)
    assert (without.classes, without.null) == (3, None)


def test_equal_seeds_give_equal_weights():
    states = [
        new_denoiser(NETWORK, (8, 1), 3, seed, null_class=True).state_dict() for seed in (0, 0, 1)
    ]
    same, other = (
        all(torch.equal(states[0][name], state[name]) for name in state) for state in states[1:]
    )
    assert same and not other


@torch.no_grad()
def test_new_classes_are_drawn_anew_and_no_class_stays(denoiser):
    x, many = images() + noise(), with_classes(denoiser, 20, seed=0)
    assert many.classes == many.null == 20
    unknown, told = torch.full((3,), 3), torch.full((3,), 20)
    assert torch.allclose(many(x, 1.0, told), denoiser(x, 1.0, unknown), atol=1e-5)
    embeddings = many.network.class_embedding.weight
    assert len(embeddings.unique(dim=0)) == 21
    assert torch.equal(
        with_classes(denoiser, 20, seed=0).network.class_embedding.weight, embeddings
    )
    for name, value in denoiser.network.state_dict().items():
        if "class_embedding" not in name:
            assert torch.equal(many.network.state_dict()[name], value), name
    noise_predicting = with_classes(noise_predictor(), 5, seed=0)
    assert noise_predicting(x, 1.0, torch.tensor([4, 0, 1])).shape == x.shape
