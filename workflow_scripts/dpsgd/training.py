"""Training of a denoiser with DP-SGD, which goes on where it was interrupted.

The gradient of a record is that of the mean loss over its views: K draws of noise level and noise
for each of A augmented copies (noise multiplicity, DPDM, arXiv 2210.09929, section 3.2;
augmentation multiplicity, arXiv 2204.13650). The mean is taken before clipping, so more views cost
no privacy and make the gradient less noisy.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from workflow_scripts.cnn import as_tensor
from workflow_scripts.device import choose_device
from workflow_scripts.dpsgd.checkpoint import Checkpoint, Checkpoints
from workflow_scripts.dpsgd.mechanism import DpSgd
from workflow_scripts.dpsgd.per_sample import PerSampleGradients
from workflow_scripts.edm.denoiser import LEVELS_MEAN, LEVELS_STD, Denoiser, denoising_losses
from workflow_scripts.generators.pipelines.batches import Batches
from workflow_scripts.interruption import Interruption
from workflow_scripts.privacy.noise import NoiseKey
from workflow_scripts.progress import Progress

# Of the records whose gradients are held at a time: numbers on a CPU, a share of a GPU's free
# memory, and views, of which more are not faster.
CPU_NUMBERS = 2**26
GPU_SHARE = 1 / 4
MOST_VIEWS = 4096
CPU_VIEWS = 128


@dataclass(frozen=True)
class Trained:
    """What a training ends with.

    Attributes
    ----------
    weights : dict of arrays
        The exponential moving average of every trained parameter, float32.
    steps : int
        Executed.
    """

    weights: dict[str, np.ndarray]
    steps: int


class Training:
    """DP-SGD on the parameters `names` of a denoiser.

    Parameters
    ----------
    denoiser : Denoiser
        At its start; the training changes it.
    names : collection of str
        Parameters of the denoiser's network.
    mechanism : DpSgd
    settings : mapping
        `learning_rate`, `ema`, `noise_multiplicity`, `augmentation_multiplicity`, `augmentation`,
        `label_dropout`, `precision`, `physical_batch`, `checkpoint_every`.
    """

    def __init__(
        self, denoiser: Denoiser, names: Collection[str], mechanism: DpSgd, settings: Mapping
    ):
        self.device = choose_device()
        self.denoiser = denoiser.to(self.device).train()
        self.mechanism, self.settings = mechanism, settings
        self.parameters = {
            name: parameter
            for name, parameter in denoiser.network.named_parameters()
            if name in names
        }
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimiser = torch.optim.Adam(self.parameters.values(), lr=settings["learning_rate"])
        self.gradients = PerSampleGradients(denoiser.network, names)
        self.views = settings["noise_multiplicity"] * settings["augmentation_multiplicity"]
        size = settings["physical_batch"]
        # What is halved when the memory does not hold it is the physical batch alone.
        self.batches = Batches(self._records_held() if size == "auto" else size)
        self.steps = self.non_finite = 0
        self.interruption = Interruption()

    def _records_held(self) -> int:
        size = sum(parameter.numel() for parameter in self.parameters.values())
        numbers, views = CPU_NUMBERS, CPU_VIEWS
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            numbers, views = int(free * GPU_SHARE) // 4, MOST_VIEWS
        return max(1, min(numbers // size, views // self.views))

    def run(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        key: NoiseKey,
        checkpoints: Checkpoints,
        interruption: Interruption | None = None,
    ) -> Trained:
        """Execute all steps, from the last checkpoint on if there is one.

        Parameters
        ----------
        images : uint8 [N, H, W, C], labels : int64 [N]
            SENSITIVE.
        key : NoiseKey
            The same for a training that goes on as when it began.
        interruption : Interruption, optional
            Asked after every physical batch. A step that is broken off is executed anew, with the
            same batch and the same noise, by the training that goes on.

        Raises
        ------
        Interrupted
            If that was requested; the checkpoint has been written.
        """
        self.interruption = interruption or self.interruption
        if (begun := checkpoints.load()) is not None:
            self._restore(begun)
            print(f"goes on after step {self.steps}", flush=True)
        total, every = self.mechanism.steps, self.settings["checkpoint_every"]
        # Expected images: how many a batch really has is private.
        expected = self.mechanism.sampling_probability * len(labels)
        progress = Progress(total, "steps", self.steps, expected)
        while self.steps < total:
            whole = self._step(images, labels, key)
            if whole:
                progress.add(1)
            if self.steps == total:
                break
            stops = not whole or self.interruption.requested
            if self.steps and (stops or self.steps % every == 0):
                checkpoints.save(self._checkpoint())
            if stops:
                kept = "checkpoint written" if self.steps else "nothing to keep yet"
                raise self.interruption.after(f"step {self.steps} of {total}: {kept}")
        # The log lies in the sensitive zone: how many there were is private.
        print(f"{self.non_finite} gradients were not finite and left out", flush=True)
        return Trained({n: a.cpu().numpy() for n, a in self.average.items()}, self.steps)

    def _step(self, images: np.ndarray, labels: np.ndarray, key: NoiseKey) -> bool:
        """Execute one step; False if it was broken off, and then nothing has changed."""
        step, handled, non_finite = self.steps, 0, 0
        rows = self.mechanism.sample(key, step, len(labels))
        x, y = images[rows], labels[rows]
        # Drawn for all records: whether one takes part changes nothing for the others.
        seeds = key.rng("views", step).integers(2**63, size=len(labels))[rows]
        changes = self._changes(key, step, len(labels))[rows]
        sums = {name: torch.zeros_like(p) for name, p in self.parameters.items()}

        def compute(part: slice) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
            return self._clipped_sum(x[part], y[part], seeds[part], changes[part])

        for clipped, bad in self.batches.parts(compute, len(rows)):
            for name, total in clipped.items():
                sums[name] += total
            handled += len(bad)
            non_finite += int(bad.sum())
            if self.interruption.requested and handled < len(rows):
                return False
        for name, gradient in self.mechanism.release(sums, key, step).items():
            self.parameters[name].grad = gradient
        self.optimiser.step()
        self.steps += 1
        self.non_finite += non_finite
        self._average()
        return True

    def _average(self) -> None:
        decay = min(self.settings["ema"], (1 + self.steps) / (10 + self.steps))
        for name, average in self.average.items():
            average.lerp_(self.parameters[name].detach(), 1 - decay)

    def _changes(self, key: NoiseKey, step: int, n: int) -> np.ndarray:
        """Int [n, A, 3]: of every record's copies, flipped or not, and shift down and right."""
        settings, copies = self.settings["augmentation"], self.settings["augmentation_multiplicity"]
        changes = np.zeros((n, copies, 3), dtype=np.int64)
        if settings["flip"]:
            changes[..., 0] = key.rng("flips", step).integers(2, size=(n, copies))
        if shift := settings["shift"]:
            rng = key.rng("shifts", step)
            changes[..., 1:] = rng.integers(-shift, shift + 1, size=(n, copies, 2))
        return changes

    def _clipped_sum(
        self, images: np.ndarray, labels: np.ndarray, seeds: np.ndarray, changes: np.ndarray
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        x = as_tensor(changed_copies(images, changes), self.device)
        y = torch.from_numpy(labels).to(self.device)
        draws = self.settings["noise_multiplicity"]
        x = x.repeat_interleave(draws, dim=0)
        y = y.repeat_interleave(self.views)
        sigma, noise, dropped = self._draws(seeds, x.shape)
        if self.denoiser.null is not None:
            y = torch.where(dropped < self.settings["label_dropout"], self.denoiser.null, y)
        precision = getattr(torch, self.settings["precision"])
        autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=precision is torch.bfloat16
        )
        with self.gradients.recording(), autocast:
            losses = denoising_losses(self.denoiser, x, y, sigma, noise)
        return self.gradients.clipped_sum(losses.float(), self.views, self.mechanism.clip)

    def _draws(
        self, seeds: np.ndarray, shape: torch.Size
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Noise level, noise and a uniform number of every view.

        Each record has a generator of its own: nothing depends on the physical batch.
        """
        sigma = torch.empty(shape[0], device=self.device)
        dropped, noise = torch.empty_like(sigma), torch.empty(shape, device=self.device)
        for i, seed in enumerate(seeds.tolist()):
            own = torch.Generator(self.device).manual_seed(seed)
            rows = slice(i * self.views, (i + 1) * self.views)
            sigma[rows].normal_(LEVELS_MEAN, LEVELS_STD, generator=own).exp_()
            noise[rows].normal_(generator=own)
            dropped[rows].uniform_(generator=own)
        return sigma, noise, dropped

    def _checkpoint(self) -> Checkpoint:
        arrays = {}
        for name, parameter in self.parameters.items():
            moments = self.optimiser.state[parameter]
            arrays |= {
                f"weights.{name}": parameter.detach(),
                f"average.{name}": self.average[name],
                f"first.{name}": moments["exp_avg"],
                f"second.{name}": moments["exp_avg_sq"],
            }
        stored = {name: array.cpu().numpy() for name, array in arrays.items()}
        return Checkpoint(self.steps, self.non_finite, stored)

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.steps, self.non_finite = checkpoint.steps, checkpoint.non_finite

        def stored(kind: str, name: str) -> torch.Tensor:
            return torch.from_numpy(checkpoint.arrays[f"{kind}.{name}"]).to(self.device)

        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(stored("weights", name))
                self.average[name].copy_(stored("average", name))
                self.optimiser.state[parameter] = {
                    "step": torch.tensor(float(self.steps)),
                    "exp_avg": stored("first", name),
                    "exp_avg_sq": stored("second", name),
                }


def changed_copies(images: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """Flipped and shifted copies of every image, one after another: uint8 [N·A, H, W, C].

    Parameters
    ----------
    images : uint8 [N, H, W, C]
    changes : int [N, A, 3]
        Whether flipped left to right, and pixels down and right; what comes in repeats the border.
    """
    copies = np.repeat(images, changes.shape[1], axis=0)
    for image, (flipped, down, right) in zip(copies, changes.reshape(-1, 3), strict=True):
        if flipped:
            image[:] = image[:, ::-1].copy()
        if down or right:
            height, width = (np.arange(side) for side in image.shape[:2])
            rows = np.clip(height - down, 0, height[-1])
            columns = np.clip(width - right, 0, width[-1])
            image[:] = image[rows][:, columns]
    return copies
