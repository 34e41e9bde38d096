"""methods.yaml: what is run, with every option of Private Evolution and of DP-SGD."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from workflow_scripts.configuration.generators import EdmTraining
from workflow_scripts.configuration.model import (
    Count,
    Index,
    Model,
    Name,
    NonNegative,
    Positive,
)

Schedule = NonNegative | tuple[NonNegative, ...]
Variation = dict[str, Schedule]


class Sigmas(Model):
    """A threshold as a multiple of the noise's standard deviation."""

    sigmas: NonNegative


class Generated(Model):
    """What every method that runs a generator says."""

    class_names: dict[str, str] = {}


class RandomMethod(Generated):
    """RANDOM of a generator and nothing else (PE with T = 0): ε = 0."""

    family: Literal["random"]
    generator: Name
    samples: Count
    class_fractions: Literal["uniform"] | dict[str, Positive] = "uniform"


class Phase(Model):
    """Consecutive iterations with one generator; its schedules have one entry per iteration."""

    generator: Name
    iterations: Count
    variation: Variation = {}


class Choice(Model):
    """Which iteration's population is released: the best for training a classifier, by ε-DP.

    `iterations` are the candidates, `classifier` is a name of evaluation.yaml, and `epsilon` is
    what the choice takes of the run's ε.
    """

    iterations: tuple[Index, ...]
    classifier: Name
    epsilon: Positive

    @model_validator(mode="after")
    def _in_order(self):
        found = list(self.iterations)
        if len(found) < 2 or found != sorted(set(found)):
            raise ValueError(
                f"iterations: found {found}; allowed: at least two, in order, each once"
            )
        return self


class PEMethod(Generated):
    """Private Evolution: see docs/methods.md for every key.

    One generator throughout is written as `generator`, `iterations` and `variation`; several, one
    after another, as `phases`.
    """

    family: Literal["pe"]
    generator: Name | None = None
    iterations: Count | None = None
    variation: Variation | None = None
    phases: tuple[Phase, ...] = ()
    encoder: Name
    samples: Count | Annotated[tuple[Count, ...], Field(min_length=2)]
    initial_fold: Index = 0
    initial_variation: dict[str, NonNegative] = {}
    fold: Count = 1
    keep_selected: bool = False
    lookahead: Index
    histogram: Literal["per-class", "joint"] = "per-class"
    neighbours: Count = 1
    metric: Literal["l2", "cosine", "inner-product"] = "l2"
    threshold: NonNegative | Sigmas
    selection: Literal["sample", "rank"] = "sample"
    class_fractions: Literal["uniform", "noised"] | dict[str, Positive] = "uniform"
    class_count_noise: Positive | None = None
    choose: Choice | None = None

    @model_validator(mode="after")
    def _consistent(self):
        single = (self.generator, self.iterations, self.variation)
        if self.phases and any(value is not None for value in single):
            raise ValueError("phases: give either phases, or generator, iterations and variation")
        if not self.phases and None in single:
            missing = ("generator", "iterations", "variation")[single.index(None)]
            raise ValueError(f"{missing}: missing; a value is required here, or phases")
        if isinstance(self.samples, tuple) and len(self.samples) != self.rounds + 1:
            raise ValueError(
                f"samples: found {len(self.samples)} entries; allowed: one number, or "
                f"{self.rounds + 1} entries, for t = 0 … T (iterations: {self.rounds})"
            )
        if (self.class_fractions == "noised") != (self.class_count_noise is not None):
            raise ValueError(
                "class_count_noise: goes with class_fractions: noised, which needs it (the "
                "standard deviation of the noise on every class's count)"
            )
        if self.histogram == "joint" and self.class_fractions == "noised":
            raise ValueError("class_fractions: a joint histogram keeps no fractions; use uniform")
        if self.initial_variation and not self.initial_fold:
            raise ValueError("initial_variation: without effect while initial_fold is 0")
        return self

    @property
    def schedule(self) -> tuple[Phase, ...]:
        """The phases; one if there is one generator."""
        return self.phases or (
            Phase(generator=self.generator, iterations=self.iterations, variation=self.variation),
        )

    @property
    def rounds(self) -> int:
        """T, over all phases."""
        return sum(phase.iterations for phase in self.schedule)

    def phase_of(self, iteration: int) -> tuple[Phase, int]:
        """The phase of iteration t = 1 … T, and which of its iterations (from 0) t is."""
        place = iteration - 1
        for phase in self.schedule:
            if place < phase.iterations:
                return phase, place
            place -= phase.iterations
        raise IndexError(f"iteration {iteration} of {self.rounds}")

    def degree(self, iteration: int) -> dict[str, float]:
        """The degree of VARIATION in iteration t = 1 … T."""
        phase, place = self.phase_of(iteration)
        return {
            name: schedule[place] if isinstance(schedule, tuple) else schedule
            for name, schedule in sorted(phase.variation.items())
        }

    def selected(self, iteration: int) -> int:
        """n_t: how many are drawn (t = 0) or selected as parents (t = 1 … T)."""
        return self.samples[iteration] if isinstance(self.samples, tuple) else self.samples

    def copies(self, iteration: int) -> int:
        """Members of population t for each that was drawn or selected."""
        return 1 + self.initial_fold if iteration == 0 else self.fold + self.keep_selected


class RealMethod(Model):
    """The sensitive training set itself: an upper bracket for the evaluation, never released."""

    family: Literal["real"]


class SemanticQuery(Model):
    """PrivImage's start: pre-training on the public classes that the sensitive images resemble.

    `classifier` is an encoder that was trained on, or gives logits for, the classes of the model's
    public data set. Every sensitive image votes for its `votes` likeliest classes; the noise on a
    count is √votes × `noise_multiplier`. `selection_ratio` is the share of the public classes that
    is selected.
    """

    query: Literal["semantic"]
    classifier: Name
    votes: Count
    noise_multiplier: Positive
    selection_ratio: Annotated[float, Field(ge=0.01, le=0.5)]


class CentralImages(Model):
    """DP-FETA's start: a warm-up on noisy means or modes of the sensitive classes.

    Each of `images_per_class` releases is of a Poisson sample of the records, taken with
    `sampling_probability`, at half the images' size. The warm-up sees `copies` of every image,
    shifted, turned and zoomed.
    """

    query: Literal["central-images"]
    centre: Literal["mean", "mode"] = "mean"
    images_per_class: Count
    sampling_probability: Annotated[float, Field(gt=0, lt=1)]
    noise_multiplier: Positive
    copies: Count = 50
    training: EdmTraining


class Adapters(Model):
    """LoRA: low-rank adapters of this rank beside the attention's projections."""

    rank: Count


class Augmentation(Model):
    """Random changes of the images that are trained on."""

    flip: bool = False
    shift: Index = 0


class DpSgdMethod(Model):
    """A diffusion model trained with DP-SGD: see docs/methods.md for every key.

    `model` is a generator of kind `edm`: its network and its sampler are used, its public data and
    its training where `start` asks for pre-training. A start that is `pretrained` can also be a
    generator of kind `diffusion` or `diffusers`, with its own sampler.
    """

    family: Literal["dp-sgd"]
    model: Name
    start: (
        Literal["random", "pretrained"]
        | Annotated[SemanticQuery | CentralImages, Field(discriminator="query")]
    )
    train: Literal["all", "attention"] | Adapters = "all"
    batches_per_epoch: Annotated[int, Field(ge=2)]
    epochs: Count
    clipping_norm: Positive
    noise_multiplicity: Count = 1
    augmentation_multiplicity: Count = 1
    augmentation: Augmentation = Augmentation()
    learning_rate: Positive
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    precision: Literal["float32", "bfloat16"] = "float32"
    samples: Count
    class_fractions: Literal["uniform"] | dict[str, Positive] = "uniform"
    physical_batch: Count | Literal["auto"] = "auto"
    checkpoint_every: Count = 50

    # How the training is run, which changes nothing but rounding.
    operational: ClassVar = frozenset({"physical_batch", "checkpoint_every"})

    @model_validator(mode="after")
    def _augmented(self):
        changes = self.augmentation.flip or self.augmentation.shift > 0
        if self.augmentation_multiplicity > 1 and not changes:
            raise ValueError(
                "augmentation_multiplicity: without effect while augmentation changes nothing; "
                "set augmentation.flip or augmentation.shift"
            )
        return self

    @property
    def steps(self) -> int:
        """T."""
        return self.batches_per_epoch * self.epochs

    @property
    def sampling_probability(self) -> float:
        """q."""
        return 1 / self.batches_per_epoch


Method = Annotated[
    RandomMethod | PEMethod | DpSgdMethod | RealMethod, Field(discriminator="family")
]
