"""Training of a small class-conditional diffusion model, stored as a diffusers pipeline.

`workflow_scripts.generators.pipelines` runs it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from torch.nn import functional as F

from workflow_scripts.cnn import as_tensor
from workflow_scripts.device import choose_device
from workflow_scripts.files import write_json
from workflow_scripts.folders import write_folder
from workflow_scripts.generators.pipelines.loading import CLASSES
from workflow_scripts.resuming import Checkpoint, train_in_steps

EMA_DECAY = 0.995


def train_diffusion(
    folder: str | Path,
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    settings: Mapping,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train a small class-conditional model on public images and save it as a pipeline.

    The objective is the noise prediction of DDPM (arXiv 2006.11239) with the cosine schedule; the
    saved weights are an exponential moving average. Equal arguments give equal weights.

    Parameters
    ----------
    folder : path
        Of the pipeline; appears whole or not at all.
    images : uint8 [N, H, W, C], labels : int64 [N]
    classes : sequence of str
    settings : mapping
        The catalogue entry of kind `diffusion`.
    checkpoint : Checkpoint, optional
        What an interrupted training goes on from.
    """
    device = choose_device()
    torch.manual_seed(settings["seed"])
    channels = settings["channels"]
    unet = UNet2DModel(
        sample_size=images.shape[1],
        in_channels=images.shape[-1],
        out_channels=images.shape[-1],
        block_out_channels=channels,
        layers_per_block=settings["layers_per_block"],
        down_block_types=["DownBlock2D"] * len(channels),
        up_block_types=["UpBlock2D"] * len(channels),
        norm_num_groups=8,
        num_class_embeds=len(classes),
    ).to(device)
    scheduler = DDIMScheduler(
        num_train_timesteps=settings["timesteps"], beta_schedule="squaredcos_cap_v2"
    )
    y = torch.from_numpy(labels)
    rng = torch.Generator().manual_seed(settings["seed"])
    optimiser = torch.optim.AdamW(unet.parameters(), lr=settings["learning_rate"])
    steps = settings["training_steps"]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    average = EMAModel(unet.parameters(), decay=EMA_DECAY)
    unet.train()

    def step() -> torch.Tensor:
        rows = torch.randint(len(y), (settings["batch_size"],), generator=rng)
        times = torch.randint(settings["timesteps"], (len(rows),), generator=rng).to(device)
        x = as_tensor(images[rows.numpy()], device)
        noise = torch.randn(x.shape, generator=rng).to(device)
        noisy = scheduler.add_noise(x, noise, times)
        loss = F.mse_loss(unet(noisy, times, class_labels=y[rows].to(device)).sample, noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        average.step(unet.parameters())
        return loss.detach()

    parts = {
        "unet": unet,
        "optimiser": optimiser,
        "schedule": schedule,
        "average": average,
        "rng": rng,
    }
    train_in_steps(step, steps, settings["batch_size"], parts, checkpoint)
    average.copy_to(unet.parameters())
    pipeline = DDIMPipeline(unet.cpu().eval(), scheduler)

    def save(temporary: Path) -> None:
        pipeline.save_pretrained(temporary)
        write_json(temporary / CLASSES, list(classes))

    write_folder(folder, save)
