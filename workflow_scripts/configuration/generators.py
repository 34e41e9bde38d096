"""generators.yaml: RANDOM and VARIATION, by kind.

Every kind says which degrees of VARIATION it takes (`degrees`), whether it can continue from
another generator's images (`adopts`) and whether it runs a network (`uses_torch`).
"""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from workflow_scripts.configuration.model import (
    Count,
    Degree,
    ImageShape,
    Index,
    Model,
    Name,
    NonNegative,
    Positive,
)

Range = tuple[Index, Index]
Level = Annotated[int, Field(ge=0, le=255)]
Levels = tuple[Level, Level]
# The text simulator takes a picture with less than that for an empty one.
CONTRAST = 32
PROBABILITY = Degree(high=1)
STEP = Degree(whole=True)


def _ordered(**ranges: tuple[float, float]) -> None:
    for name, (low, high) in ranges.items():
        if low > high:
            raise ValueError(f"{name}: the smallest ({low}) exceeds the largest ({high})")


class TextGenerator(Model):
    """The text simulator: see `workflow_scripts.generators.text`.

    `texts` is one list for all classes, or a list for each; by default a class is drawn as its
    name. `foreground` and `background` are ranges of grey levels, or of each colour's levels.
    Sizes, strokes and shifts are in pixels of a canvas `supersampling` times as wide as the image.
    """

    kind: Literal["text"]
    fonts: str = "matplotlib"
    texts: tuple[str, ...] | dict[str, tuple[str, ...]] | None = None
    image_size: Count
    channels: Literal[1, 3] = 1
    supersampling: Count = 1
    size: Range
    rotation: Annotated[int, Field(ge=0, le=180)]
    stroke: Range = (0, 0)
    shift: Index = 0
    foreground: Levels = (255, 255)
    background: Levels = (0, 0)
    block_size: Count = 500

    adopts: ClassVar = False
    uses_torch: ClassVar = False

    @property
    def image(self) -> ImageShape:
        return ImageShape(size=self.image_size, channels=self.channels)

    @property
    def degrees(self) -> dict[str, Degree]:
        steps = dict.fromkeys(("size", "rotation", "stroke", "shift"), STEP)
        # Asked for only where there is a choice.
        texts = {"text": PROBABILITY} if self.texts is not None else {}
        ranges = self.foreground, self.background
        colour = {"colour": STEP} if any(low < high for low, high in ranges) else {}
        return {"font": PROBABILITY, **steps, **texts, **colour}

    def texts_of(self, name: str) -> tuple[str, ...]:
        """What may be drawn for a class."""
        if self.texts is None:
            return (name,)
        return self.texts[name] if isinstance(self.texts, dict) else self.texts

    @model_validator(mode="after")
    def _drawable(self):
        _ordered(
            size=self.size,
            stroke=self.stroke,
            foreground=self.foreground,
            background=self.background,
        )
        if self.size[0] < 1:
            raise ValueError("size: the smallest font size must be at least 1")
        if 2 * self.shift >= self.image_size * self.supersampling:
            # The middle of the text must stay in the picture: an empty one has a wrong label.
            raise ValueError(
                f"shift: found {self.shift}; allowed: less than half of the canvas, "
                f"{self.image_size * self.supersampling / 2:g}"
            )
        lists = self.texts.values() if isinstance(self.texts, dict) else (self.texts,)
        if self.texts is not None and not all(
            texts and all(map(str.strip, texts)) for texts in lists
        ):
            raise ValueError("texts: found an empty list or text; allowed: at least one character")
        lighter = self.foreground[0] - self.background[1]
        darker = self.background[0] - self.foreground[1]
        if max(lighter, darker) < CONTRAST:
            # Text in the colour of its ground would be an empty picture under a label.
            raise ValueError(
                f"foreground: found {list(self.foreground)} on the background "
                f"{list(self.background)}; allowed: ranges that are {CONTRAST} levels apart"
            )
        return self


class AvatarGenerator(Model):
    """Cartoon faces of python_avatars: see `workflow_scripts.generators.avatar`."""

    kind: Literal["avatar"]
    image_size: Count
    # Left, upper, right and lower edge on the drawing of 264 × 280 units.
    crop: tuple[Index, Index, Index, Index] = (40, 40, 224, 224)
    block_size: Count = 500

    adopts: ClassVar = False
    uses_torch: ClassVar = False
    degrees: ClassVar = {"attributes": PROBABILITY}

    @property
    def image(self) -> ImageShape:
        return ImageShape(size=self.image_size, channels=3)

    @model_validator(mode="after")
    def _square(self):
        left, upper, right, lower = self.crop
        if right - left != lower - upper or right <= left:
            raise ValueError(f"crop: found {list(self.crop)}; allowed: a square, not empty")
        if right > 264 or lower > 280:
            raise ValueError(
                f"crop: found {list(self.crop)}; allowed: inside of the drawing, [0, 0, 264, 280]"
            )
        return self


class PoolGenerator(Model):
    """Images of a public data set: see `workflow_scripts.generators.pool`.

    VARIATION is one of the d nearest images of the pool in the encoder's space, itself included.
    With `match_classes`, both draw only images of the wanted class; otherwise labels are ignored.
    """

    kind: Literal["pool"]
    dataset: Name
    encoder: Name
    match_classes: bool = False
    block_size: Count = 2000

    adopts: ClassVar = False
    uses_torch: ClassVar = False
    degrees: ClassVar = {"neighbours": Degree(low=1, whole=True)}


class TrainedDiffusion(Model):
    """A class-conditional diffusion model trained on public data: see `generators.diffusion`."""

    kind: Literal["diffusion"]
    dataset: Name
    channels: Annotated[tuple[Count, ...], Field(min_length=1)]
    layers_per_block: Count = 1
    timesteps: Count = 1000
    batch_size: Count
    training_steps: Count
    learning_rate: Positive
    sampling_steps: Count
    seed: Index = 0
    block_size: Count = 500

    adopts: ClassVar = True
    uses_torch: ClassVar = True
    degrees: ClassVar = {"strength": Degree(high=1, above=True)}

    @model_validator(mode="after")
    def _possible(self):
        if any(channels % 8 for channels in self.channels):
            raise ValueError(f"channels: found {list(self.channels)}; allowed: multiples of 8")
        if self.sampling_steps > self.timesteps:
            raise ValueError(
                f"sampling_steps ({self.sampling_steps}) exceeds timesteps ({self.timesteps})"
            )
        return self


class EdmNetwork(Model):
    """The U-Net of a denoiser: see `workflow_scripts.edm.network`."""

    channels: Count
    multipliers: Annotated[tuple[Count, ...], Field(min_length=1)]
    blocks: Count = 2
    attention: tuple[Count, ...] = ()

    @model_validator(mode="after")
    def _grouped(self):
        if self.channels % 8:
            raise ValueError(f"channels: found {self.channels}; allowed: a multiple of 8")
        return self


class EdmTraining(Model):
    """The training of a denoiser without privacy: see `workflow_scripts.edm.training`."""

    batch_size: Count
    training_steps: Count
    learning_rate: Positive
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    label_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    flip: bool = False


class EdmSampling(Model):
    """The way from noise to images: see `workflow_scripts.edm.sampling`.

    `churn`, `churn_levels` and `churn_noise` are S_churn, S_min and S_max, and S_noise of
    arXiv 2206.00364.
    """

    sampler: Literal["ddim", "heun", "churn", "stochastic-ddim"] = "ddim"
    steps: Count
    churn: Positive | None = None
    churn_levels: tuple[NonNegative, NonNegative] | None = None
    churn_noise: Positive | None = None

    @model_validator(mode="after")
    def _churned(self):
        given = {"churn", "churn_levels", "churn_noise"} & self.model_dump(exclude_none=True).keys()
        if self.sampler != "churn" and given:
            raise ValueError(f"{min(given)}: goes with sampler: churn; found {self.sampler}")
        if self.sampler == "churn" and self.churn is None:
            raise ValueError("churn: missing; allowed: a number above 0, with sampler: churn")
        if self.churn_levels is not None:
            _ordered(churn_levels=self.churn_levels)
        return self


class EdmGenerator(Model):
    """A class-conditional denoiser trained on public data: see `workflow_scripts.edm`."""

    kind: Literal["edm"]
    dataset: Name
    network: EdmNetwork
    training: EdmTraining
    sampling: EdmSampling
    seed: Index = 0
    block_size: Count = 500

    adopts: ClassVar = True
    uses_torch: ClassVar = True
    degrees: ClassVar = {"strength": Degree(high=1, above=True)}


class DiffusersGenerator(Model):
    """A pipeline of diffusers: see `generators.pipelines`.

    It is the `pipeline` of that id on a hub, or lies in a local `folder`.

    `conditions`: for a class-conditional model, `class` (the sensitive class, through the method's
    `class_names`) or `random` (any class of the model, uniformly, inherited by variations). A
    text-to-image model is asked with `prompt`, in which `{class}` stands for the class's name, or
    with `prompts`, one for each class.
    """

    kind: Literal["diffusers"]
    pipeline: str | None = None
    revision: str | None = None
    folder: str | None = None
    image: ImageShape
    conditions: Literal["class", "random"] = "class"
    prompt: str | None = None
    prompts: dict[str, str] = {}
    guidance: NonNegative | None = None
    sampling_steps: Count
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    batch_size: Count | Literal["auto"] = "auto"
    block_size: Count = 500

    adopts: ClassVar = True
    uses_torch: ClassVar = True
    degrees: ClassVar = {
        "strength": Degree(high=1, above=True),
        "guidance": Degree(optional=True),
        "sampling_steps": Degree(low=1, whole=True, optional=True),
    }

    @model_validator(mode="after")
    def _one_place(self):
        if (self.pipeline is None) == (self.folder is None):
            raise ValueError("give either pipeline (the id of a model on a hub) or folder")
        if self.folder is not None and self.revision is not None:
            raise ValueError("revision: goes with pipeline; a folder has none")
        return self

    @model_validator(mode="after")
    def _one_prompt(self):
        if self.prompt is not None and self.prompts:
            raise ValueError("give either prompt or prompts, not both")
        for text in (self.prompt or "", *self.prompts.values()):
            for placeholder in re.findall(r"\{\w*\}", text):
                if placeholder != "{class}":
                    raise ValueError(f"prompts: found {placeholder}; allowed: {{class}}")
        return self


class ApiGenerator(Model):
    """A model behind an OpenAI-compatible HTTP API: see `generators.api`.

    The key is read from the environment variable `api_key_variable`, never from a file of the
    project. In the prompts `{class}` stands for the class's name. `variation` names the endpoint;
    `edits` sends `variation_prompt` (by default the prompt) along. `request_size` is what the API
    is asked for, `WIDTHxHEIGHT`, or `auto`: its own choice. `price_per_image` only feeds the cost
    counter.
    """

    kind: Literal["api"]
    base_url: str
    model: str
    image: ImageShape
    request_size: str = "auto"
    prompt: str | None = None
    prompts: dict[str, str] = {}
    variation: Literal["edits", "variations"] = "edits"
    variation_prompt: str | None = None
    strength_parameter: str | None = None
    api_key_variable: str = "OPENAI_API_KEY"
    concurrency: Count = 8
    requests_per_minute: Positive | None = None
    retries: Index = 6
    timeout: Positive = 120
    price_per_image: NonNegative = 0
    block_size: Count = 50

    adopts: ClassVar = True
    uses_torch: ClassVar = False
    # How the model is reached, which changes no answer.
    operational: ClassVar = frozenset(
        {
            "api_key_variable",
            "concurrency",
            "requests_per_minute",
            "retries",
            "timeout",
            "price_per_image",
        }
    )

    @property
    def degrees(self) -> dict[str, Degree]:
        return {"strength": Degree(high=1, above=True)} if self.strength_parameter else {}

    @model_validator(mode="after")
    def _one_prompt(self):
        if (self.prompt is None) == (not self.prompts):
            raise ValueError("give either prompt (with {class} for the class) or prompts")
        for text in (self.prompt, self.variation_prompt, *self.prompts.values()):
            for placeholder in re.findall(r"\{\w*\}", text or ""):
                if placeholder != "{class}":
                    raise ValueError(f"prompts: found {placeholder}; allowed: {{class}}")
        return self

    @model_validator(mode="after")
    def _edits_only(self):
        for key in ("strength_parameter", "variation_prompt"):
            if getattr(self, key) is not None and self.variation == "variations":
                raise ValueError(f"{key}: the variations endpoint takes none; use edits")
        return self

    @model_validator(mode="after")
    def _reachable(self):
        if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", self.base_url):
            raise ValueError(
                "base_url: allowed: http:// or https://, a host and a path, without user, "
                "password or query"
            )
        if not re.fullmatch(r"auto|[1-9]\d*x[1-9]\d*", self.request_size):
            raise ValueError(
                f"request_size: found {self.request_size!r}; allowed: auto or WIDTHxHEIGHT"
            )
        if not re.fullmatch(r"[A-Za-z_]\w*", self.api_key_variable, re.ASCII):
            # What stands there may be the key: it is not repeated.
            raise ValueError("api_key_variable: allowed: the name of a variable, not the key")
        return self


class PythonGenerator(Model):
    """A user's own generator: a class named by its import path (docs/generators/python.md).

    It is called with the class names and with `settings` as keyword arguments. `degrees` names the
    degrees of VARIATION that it takes. `files` are handed over as the keyword `files`; they and
    the module's source are part of the stage's key.
    """

    kind: Literal["python"]
    class_path: Annotated[str, Field(alias="class", pattern=r"^[\w.]+:\w+$")]
    image: ImageShape
    settings: dict[str, Any] = {}
    files: tuple[str, ...] = ()
    degree_names: Annotated[tuple[Name, ...], Field(alias="degrees")] = ()
    adopts: bool = False
    uses_torch: bool = False
    block_size: Count = 500

    @property
    def degrees(self) -> dict[str, Degree]:
        return dict.fromkeys(self.degree_names, Degree())


Generator = Annotated[
    TextGenerator
    | AvatarGenerator
    | PoolGenerator
    | TrainedDiffusion
    | EdmGenerator
    | DiffusersGenerator
    | ApiGenerator
    | PythonGenerator,
    Field(discriminator="kind"),
]
