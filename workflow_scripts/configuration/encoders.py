"""encoders.yaml: images → embeddings, by kind."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from workflow_scripts.configuration.model import Count, Index, Model, Name, Positive, Sha256

Channels = tuple[float, float, float]
Deviations = tuple[Positive, Positive, Positive]
# OpenAI's, which open_clip's own models keep.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")


class Weights(Model):
    """A file of weights, local or fetched, known by its SHA-256."""

    path: str | None = None
    url: str | None = None
    sha256: Sha256

    @model_validator(mode="after")
    def _one_place(self):
        if (self.path is None) == (self.url is None):
            raise ValueError("give either path or url")
        return self


class Tensors(Weights):
    """Weights in safetensors, which cannot run code."""

    @model_validator(mode="after")
    def _not_pickled(self):
        name = self.path or self.url or ""
        if name.lower().endswith(PICKLES):
            raise ValueError(
                f"found {name!r}; allowed: a safetensors file, as pickled weights are never loaded"
            )
        return self


class PixelEncoder(Model):
    """The pixels themselves, scaled to [0, 1]."""

    kind: Literal["pixels"]

    uses_torch: ClassVar = False


class CnnEncoder(Model):
    """A small convolutional network trained to classify a public data set."""

    kind: Literal["cnn"]
    dataset: Name
    width: Count
    dimension: Count
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    # Random shifts, rotations and scales of the training images.
    augment: bool = False
    seed: Index = 0

    uses_torch: ClassVar = True


class InceptionEncoder(Model):
    """Inception-v3 as FID uses it, with clean-fid's resizing: see `encoders.inception`."""

    kind: Literal["inception"]
    weights: Weights
    batch_size: Count = 100

    uses_torch: ClassVar = True


class ClipEncoder(Model):
    """The image tower of a CLIP model of open_clip: see `encoders.clip`.

    `mean` and `std` per channel, of pixels in [0, 1], belong to the weights. So does the activation
    function: OpenAI's weights are for the models named `…-quickgelu`.
    """

    kind: Literal["clip"]
    model: str
    weights: Tensors
    mean: Channels = CLIP_MEAN
    std: Deviations = CLIP_STD
    batch_size: Count = 100

    uses_torch: ClassVar = True


class DinoEncoder(Model):
    """DINOv2, as timm builds it: see `encoders.dino`."""

    kind: Literal["dinov2"]
    model: str = "vit_small_patch14_dinov2"
    weights: Tensors
    batch_size: Count = 100

    uses_torch: ClassVar = True


class TorchScriptEncoder(Model):
    """Any TorchScript module float32 [N, C, size, size] → float32 [N, D].

    Pixels are mapped from [0, 255] to `range`. See `encoders.torchscript`. The file can run code;
    its hash says whose.
    """

    kind: Literal["torchscript"]
    weights: Weights
    size: Count
    channels: Literal[1, 3] = 3
    range: tuple[float, float] = (0.0, 1.0)
    batch_size: Count = 100

    uses_torch: ClassVar = True

    @model_validator(mode="after")
    def _ascending(self):
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range: found {list(self.range)}; allowed: the smaller number first")
        return self


Encoder = Annotated[
    PixelEncoder | CnnEncoder | InceptionEncoder | ClipEncoder | DinoEncoder | TorchScriptEncoder,
    Field(discriminator="kind"),
]
