"""A class-conditional diffusion model as a generator, stored as a diffusers pipeline.

RANDOM denoises from pure noise. VARIATION noises an image to an intermediate step and denoises it
again (SDEdit, arXiv 2108.01073), under the sample's own class: the further the noise goes, the
less of the image remains.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DiffusionPipeline, UNet2DModel
from diffusers.training_utils import EMAModel
from torch.nn import functional as F

from workflow_scripts.cnn import as_tensor
from workflow_scripts.device import choose_device
from workflow_scripts.files import FileProblem, read_json
from workflow_scripts.generators.population import Population

CLASSES = "classes.json"
EMA_DECAY = 0.995


class DiffusionGenerator:
    """RANDOM and VARIATION of a pipeline with a class-conditional `UNet2DModel`.

    Parameters
    ----------
    folder : path
        A saved diffusers pipeline, with the list of its classes in `classes.json`.
    classes : sequence of str
        The model's class for every label of the sensitive data set.
    sampling_steps : int
        DDIM steps from pure noise to an image (η = 0).
    """

    def __init__(self, folder: str | Path, classes: Sequence[str], sampling_steps: int):
        known = read_json(Path(folder) / CLASSES)
        missing = [name for name in classes if name not in known]
        if missing:
            raise FileProblem(f"{folder}: the model has no class {missing}; it has {known}")
        self.conditions = np.array([known.index(name) for name in classes], dtype=np.int64)
        self.device = choose_device()
        try:
            pipeline = DiffusionPipeline.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
            )
        except OSError as error:
            raise FileProblem(
                f"{folder}: not a diffusers pipeline in safetensors ({error})"
            ) from error
        self.unet = pipeline.unet.to(self.device).eval()
        self.scheduler = pipeline.scheduler
        self.scheduler.set_timesteps(sampling_steps)

    def random(self, labels: np.ndarray, rng: np.random.Generator) -> Population:
        """RANDOM: one image per label (int64 [N])."""
        conditions = self.conditions[labels]
        size, channels = self.unet.config.sample_size, self.unet.config.in_channels
        noise = self._noise((len(labels), channels, size, size), rng)
        images = self._denoise(noise, conditions, start=0)
        return Population(images, np.asarray(labels, np.int64), {"condition": conditions})

    def vary(
        self, population: Population, degree: Mapping[str, float], rng: np.random.Generator
    ) -> Population:
        """VARIATION: one image per sample.

        Parameters
        ----------
        degree : mapping
            `strength` in (0, 1]: the share of the sampling steps that is noised away and run
            again, at least one. 1 starts from the noise level of RANDOM.
        """
        steps = self.scheduler.timesteps
        start = len(steps) - max(1, round(degree["strength"] * len(steps)))
        clean = as_tensor(population.images, self.device)
        noise = self._noise(tuple(clean.shape), rng)
        noisy = self.scheduler.add_noise(clean, noise, steps[start].expand(len(clean)))
        conditions = population.state["condition"]
        images = self._denoise(noisy, conditions, start)
        return Population(images, population.labels, {"condition": conditions})

    def _noise(self, shape: tuple[int, ...], rng: np.random.Generator) -> torch.Tensor:
        # Drawn by NumPy, so that CPU and GPU start from the same numbers.
        return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(self.device)

    @torch.inference_mode()
    def _denoise(self, x: torch.Tensor, conditions: np.ndarray, start: int) -> np.ndarray:
        if len(x):
            labels = torch.from_numpy(conditions).to(self.device)
            for timestep in self.scheduler.timesteps[start:]:
                predicted = self.unet(x, timestep, class_labels=labels).sample
                x = self.scheduler.step(predicted, timestep, x, eta=0.0).prev_sample
        pixels = x.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu().numpy()


def train_diffusion(
    folder: str | Path,
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    settings: Mapping,
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
    x, y = as_tensor(images, device), torch.from_numpy(labels).to(device)
    rng = torch.Generator().manual_seed(settings["seed"])
    optimiser = torch.optim.AdamW(unet.parameters(), lr=settings["learning_rate"])
    steps = settings["training_steps"]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    average = EMAModel(unet.parameters(), decay=EMA_DECAY)
    unet.train()
    for step in range(steps):
        rows = torch.randint(len(y), (settings["batch_size"],), generator=rng)
        times = torch.randint(settings["timesteps"], (len(rows),), generator=rng).to(device)
        noise = torch.randn(len(rows), *x.shape[1:], generator=rng).to(device)
        rows = rows.to(device)
        noisy = scheduler.add_noise(x[rows], noise, times)
        loss = F.mse_loss(unet(noisy, times, class_labels=y[rows]).sample, noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        average.step(unet.parameters())
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}/{steps}: loss {loss.item():.4f}", flush=True)
    average.copy_to(unet.parameters())
    _save_whole(DDIMPipeline(unet.cpu().eval(), scheduler), Path(folder), classes)


def _save_whole(pipeline: DDIMPipeline, folder: Path, classes: Sequence[str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        pipeline.save_pretrained(temporary)
        (temporary / CLASSES).write_text(json.dumps(list(classes)), encoding="utf-8")
        temporary.chmod(0o755)
        for file in filter(Path.is_file, temporary.rglob("*")):
            with open(file, "rb") as written:
                os.fsync(written.fileno())
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
