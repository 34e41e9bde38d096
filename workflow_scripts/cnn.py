"""A small convolutional classifier: the encoder trained on public data, and a downstream judge."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from workflow_scripts.device import choose_device
from workflow_scripts.randomness import rng_of
from workflow_scripts.resuming import Checkpoint, train_in_steps

BATCH = 500
# Augmentation: uniform rotations up to ±15°, scales between 1/1.2 and 1.2 (uniform in their
# logarithm) and shifts up to ±10 % of the side.
ROTATION = np.deg2rad(15)
SCALE = 1.2
SHIFT = 0.1


class SmallCnn(nn.Module):
    """Three convolutions, average pooling to 2×2, an embedding and a linear head.

    Parameters
    ----------
    channels : int
        Of the images.
    width : int
        Channels of the first convolution; the others have twice and four times as many.
    dimension : int
        Length of the embedding.
    classes : int
    """

    def __init__(self, channels: int, width: int, dimension: int, classes: int):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * width, dimension),
        )
        self.head = nn.Linear(dimension, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, classes] of images float32 [N, C, H, W]."""
        return self.head(F.relu(self.features(x)))


def as_tensor(images: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 [N, H, W, C] → float32 [N, C, H, W] in [−1, 1]."""
    scaled = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(device)
    return scaled.float().div_(127.5).sub_(1.0)


def augmented(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Each image turned, scaled and shifted at random: float32 [N, C, H, W], sampled bilinearly.

    What comes in from outside repeats the border.
    """
    n = len(x)
    angle = rng.uniform(-ROTATION, ROTATION, n)
    scale = np.exp(rng.uniform(-np.log(SCALE), np.log(SCALE), n))
    # From where in the image, on [−1, 1]², a pixel is taken.
    theta = np.empty((n, 2, 3), np.float32)
    theta[:, 0, 0] = theta[:, 1, 1] = np.cos(angle) / scale
    theta[:, 1, 0] = np.sin(angle) / scale
    theta[:, 0, 1] = -theta[:, 1, 0]
    theta[:, :, 2] = 2 * rng.uniform(-SHIFT, SHIFT, (n, 2))
    grid = F.affine_grid(torch.from_numpy(theta).to(x.device), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


class Order:
    """The rows of one batch after another, all of them in each epoch, in a new order.

    Parameters
    ----------
    n, batch_size, seed : int
        The last batch of an epoch may be smaller.
    """

    def __init__(self, n: int, batch_size: int, seed: int):
        self.n, self.batch_size = n, batch_size
        self.rng = torch.Generator().manual_seed(seed)
        self.left = torch.empty(0, dtype=torch.int64)

    def next(self) -> torch.Tensor:
        """int64 [up to `batch_size`]"""
        if not len(self.left):
            self.left = torch.randperm(self.n, generator=self.rng)
        rows, self.left = self.left[: self.batch_size], self.left[self.batch_size :]
        return rows

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"rng": self.rng.get_state(), "left": self.left}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.rng.set_state(state["rng"])
        self.left = state["left"]


def train_classifier(
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    width: int,
    dimension: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    augment: bool = False,
    checkpoint: Checkpoint | None = None,
) -> SmallCnn:
    """Fit a `SmallCnn` by AdamW with a cosine schedule; equal arguments give equal weights.

    Memory: the images as bytes, or nothing of them if they are memory-mapped; one batch as float32.

    Parameters
    ----------
    images : uint8 [N, H, W, C]
    labels : int64 [N]
    augment : bool
        Show every image turned, scaled and shifted, anew in each epoch.
    checkpoint : Checkpoint, optional
        What an interrupted training goes on from; for data that are not private.
    """
    device = choose_device()
    torch.manual_seed(seed)
    network = SmallCnn(images.shape[-1], width, dimension, classes).to(device)
    y = torch.from_numpy(np.array(labels)).to(device)
    steps = epochs * -(-len(labels) // batch_size)
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    order = Order(len(labels), batch_size, seed)
    changes = rng_of("augmentation", seed)
    network.train()

    def step() -> torch.Tensor:
        rows = order.next()
        x = as_tensor(images[rows.numpy()], device)
        if augment:
            x = augmented(x, changes)
        loss = F.cross_entropy(network(x), y[rows.to(device)])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        return loss.detach()

    parts = {
        "network": network,
        "optimiser": optimiser,
        "schedule": schedule,
        "order": order,
        "changes": changes,
    }
    train_in_steps(step, steps, batch_size, parts, checkpoint)
    return network.eval()


@torch.inference_mode()
def apply(module: nn.Module, images: np.ndarray) -> np.ndarray:
    """Outputs float32 [N, …] of a module for images uint8 [N, H, W, C].

    Memory: the outputs, and one batch of images as float32.
    """
    device = choose_device()
    module = module.to(device).eval()
    parts = [
        module(as_tensor(images[start : start + BATCH], device)).cpu().numpy()
        for start in range(0, max(len(images), 1), BATCH)
    ]
    return np.concatenate(parts)
