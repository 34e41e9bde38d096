"""What the configuration files may say, and one message when they say something else.

Named things are defined once, in catalogue files (`datasets.yaml`, `generators.yaml`,
`encoders.yaml`, `methods.yaml`, `evaluation.yaml`); an experiment is a grid over those names.
Everything is validated here, before Snakemake builds a single job; the errors name the file, the
key, what was found and what is allowed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from workflow_scripts.problems import Problem


class ConfigurationProblem(Problem):
    """The configuration cannot be used; the message says where and why."""


# Names become parts of paths and labels `name~key`.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]


def _distinct_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    # A class that stands twice would let one record vote twice.
    if len(set(classes)) < len(classes):
        raise ValueError(f"a class stands there twice: {list(classes)}")
    for name in classes:
        if name in ("", ".", "..") or "/" in name:
            raise ValueError(f"found {name!r}; allowed: names without '/', not empty, '.' or '..'")
    return classes


Classes = Annotated[tuple[str, ...], Field(min_length=2), AfterValidator(_distinct_names)]


class Model(BaseModel):
    """Strict and immutable: no unknown keys, no strings for numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for key in data:
            if key not in cls.model_fields:
                near = get_close_matches(str(key), cls.model_fields, n=1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                raise ValueError(
                    f"unknown key {key!r}; allowed: {', '.join(cls.model_fields)}{hint}"
                )
        return data


# --- datasets.yaml -------------------------------------------------------------------------------


class ImageShape(Model):
    """Height = width in pixels, and 1 (grey) or 3 (RGB) channels."""

    size: Count
    channels: Literal[1, 3]


class Split(Model):
    """A stratified split of one file into train and test, by a fixed public seed."""

    test_fraction: Fraction
    seed: Index


class SklearnDigits(Model):
    """The 1,797 handwritten digits that ship with scikit-learn."""

    kind: Literal["sklearn-digits"]


class Npz(Model):
    """Arrays `images` (uint8 [N, H, W] or [N, H, W, C]) and `labels` in NumPy's .npz format.

    `labels` are indices into the class list, or class names.
    """

    kind: Literal["npz"]
    path: str
    test_path: str | None = None


class ImageFolder(Model):
    """`path/<class name>/*.png` (also .jpg, .webp, .bmp), one folder per declared class."""

    kind: Literal["image-folder"]
    path: str
    test_path: str | None = None


SensitiveSource = Annotated[SklearnDigits | Npz | ImageFolder, Field(discriminator="kind")]


class SensitiveDataset(Model):
    """A data set to protect. Shape, classes and train_size are declared, never read from it."""

    source: SensitiveSource
    image: ImageShape
    classes: Classes
    train_size: Annotated[int, Field(ge=2)]
    split: Split | None = None
    version: Count = 1

    @model_validator(mode="after")
    def _one_test_set(self):
        has_test = getattr(self.source, "test_path", None) is not None
        if has_test and self.split is not None:
            raise ValueError("give either source.test_path or split, not both")
        if not has_test and self.split is None:
            raise ValueError("give split (test_fraction, seed), or source.test_path")
        return self


class Rendered(Model):
    """Images that a simulator renders: RANDOM, the same number for every class."""

    kind: Literal["rendered"]
    generator: Name
    samples: Count
    seed: Index


class PublicDataset(Model):
    """A labelled data set that costs no privacy."""

    source: Rendered
    image: ImageShape
    classes: Classes


class Datasets(Model):
    """datasets.yaml"""

    sensitive: dict[Name, SensitiveDataset]
    public: dict[Name, PublicDataset] = {}


# --- generators.yaml -----------------------------------------------------------------------------

Range = tuple[Index, Index]


class TextGenerator(Model):
    """The text simulator: see `workflow_scripts.generators.text`."""

    kind: Literal["text"]
    fonts: str = "matplotlib"
    image_size: Count
    supersampling: Count = 1
    size: Range
    rotation: Annotated[int, Field(ge=0, le=180)]
    stroke: Range = (0, 0)
    shift: Index = 0
    block_size: Count = 500

    degrees: ClassVar = ("font", "size", "rotation", "stroke", "shift")

    @model_validator(mode="after")
    def _ordered(self):
        for name in ("size", "stroke"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the smallest ({low}) exceeds the largest ({high})")
        if self.size[0] < 1:
            raise ValueError("size: the smallest font size must be at least 1")
        if 2 * self.shift >= self.image_size * self.supersampling:
            # The middle of the text must stay in the picture: an empty one has a wrong label.
            raise ValueError(
                f"shift: found {self.shift}; allowed: less than half of the canvas, "
                f"{self.image_size * self.supersampling / 2:g}"
            )
        return self


class DiffusionGenerator(Model):
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

    degrees: ClassVar = ("strength",)

    @model_validator(mode="after")
    def _possible(self):
        if any(channels % 8 for channels in self.channels):
            raise ValueError(f"channels: found {list(self.channels)}; allowed: multiples of 8")
        if self.sampling_steps > self.timesteps:
            raise ValueError(
                f"sampling_steps ({self.sampling_steps}) exceeds timesteps ({self.timesteps})"
            )
        return self


Generator = Annotated[TextGenerator | DiffusionGenerator, Field(discriminator="kind")]

# --- encoders.yaml -------------------------------------------------------------------------------


class PixelEncoder(Model):
    """The pixels themselves, scaled to [0, 1]."""

    kind: Literal["pixels"]


class CnnEncoder(Model):
    """A small convolutional network trained to classify a public data set."""

    kind: Literal["cnn"]
    dataset: Name
    width: Count
    dimension: Count
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    seed: Index = 0


Encoder = Annotated[PixelEncoder | CnnEncoder, Field(discriminator="kind")]

# --- methods.yaml --------------------------------------------------------------------------------

Schedule = NonNegative | tuple[NonNegative, ...]


class Sigmas(Model):
    """A threshold as a multiple of the noise's standard deviation."""

    sigmas: NonNegative


class Generated(Model):
    """What every method that runs a generator says."""

    generator: Name
    samples: Count
    class_fractions: Literal["uniform"] | dict[str, Positive] = "uniform"
    class_names: dict[str, str] = {}


class RandomMethod(Generated):
    """RANDOM of a generator and nothing else (PE with T = 0): ε = 0."""

    family: Literal["random"]


class PEMethod(Generated):
    """Private Evolution: see docs/methods.md for every key."""

    family: Literal["pe"]
    encoder: Name
    iterations: Count
    lookahead: Count
    variation: dict[str, Schedule]
    threshold: NonNegative | Sigmas
    selection: Literal["sample", "rank"] = "sample"

    def degree(self, iteration: int) -> dict[str, float]:
        """The degree of VARIATION in iteration t = 1 … T: entry t of every schedule."""
        return {
            name: schedule[iteration - 1] if isinstance(schedule, tuple) else schedule
            for name, schedule in sorted(self.variation.items())
        }


class RealMethod(Model):
    """The sensitive training set itself: an upper bracket for the evaluation, never released."""

    family: Literal["real"]


Method = Annotated[RandomMethod | PEMethod | RealMethod, Field(discriminator="family")]

# --- evaluation.yaml -----------------------------------------------------------------------------


class LogisticClassifier(Model):
    """Multinomial logistic regression on pixels in [0, 1]."""

    kind: Literal["logistic"]
    inverse_regularisation: Positive = 1.0
    max_iterations: Count = 500


class CnnClassifier(Model):
    """A small convolutional network."""

    kind: Literal["cnn"]
    width: Count
    epochs: Count
    batch_size: Count
    learning_rate: Positive


Classifier = Annotated[LogisticClassifier | CnnClassifier, Field(discriminator="kind")]


class Fidelity(Model):
    """How fidelity is measured in an encoder's space."""

    neighbours: Count = 3


class Evaluation(Model):
    """evaluation.yaml"""

    classifiers: dict[Name, Classifier]
    fidelity: Fidelity = Fidelity()


# --- the experiment ------------------------------------------------------------------------------


class Experiment(Model):
    """A grid of runs that becomes one comparison table."""

    experiment: Name
    datasets: Annotated[tuple[Name, ...], Field(min_length=1)]
    methods: Annotated[tuple[Name, ...], Field(min_length=1)]
    epsilons: tuple[Positive, ...]
    seeds: Annotated[tuple[Index, ...], Field(min_length=1)]
    # Below 10⁻¹² the accountant's tails cannot tell δ from 0.
    delta: Annotated[float, Field(ge=1e-12, lt=1)] | None = None
    noise_source: Literal["os", "seeded"] = "os"
    classifiers: tuple[Name, ...] = ()
    fidelity_encoders: tuple[Name, ...] = ()
    overrides: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _distinct(self):
        for key in ("datasets", "methods", "seeds", "classifiers", "fidelity_encoders"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key}: an entry stands there twice: {list(values)}")
        # ε prints as %g in paths and tables.
        if len({f"{epsilon:g}" for epsilon in self.epsilons}) < len(self.epsilons):
            raise ValueError(f"epsilons: two entries print alike: {list(self.epsilons)}")
        for epsilon in self.epsilons:
            if float(f"{epsilon:g}") != epsilon:
                raise ValueError(
                    f"epsilons: found {epsilon!r}; allowed: at most 6 digits, as ε prints in paths"
                )
        return self


@dataclass(frozen=True)
class Configuration:
    """The catalogue and the experiment, each validated on its own."""

    experiment: Experiment
    source: str
    datasets: Datasets
    generators: dict[str, Generator]
    encoders: dict[str, Encoder]
    methods: dict[str, dict[str, Any]]
    evaluation: Evaluation
    files: dict[str, str] = field(default_factory=dict)


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error, not silently the last one."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping."""
    try:
        with open(path, encoding="utf-8") as file:
            # A subclass of SafeLoader: it constructs plain types only.
            content = yaml.load(file, Loader=UniqueKeyLoader)  # noqa: S506
    except FileNotFoundError:
        raise ConfigurationProblem(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise ConfigurationProblem(f"{path}: not UTF-8 text ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise ConfigurationProblem(f"{path}{where}: not valid YAML: {problem}") from None
    if not isinstance(content, dict):
        raise ConfigurationProblem(
            f"{path}: found {type(content).__name__} at the top level; allowed: keys and values"
        )
    return content


def load_configuration(folder: str | Path, experiment: Mapping, source: str) -> Configuration:
    """Read the catalogue in `folder` and validate it and the experiment.

    Parameters
    ----------
    folder : path
        Where the catalogue files lie.
    experiment : mapping
        The experiment's keys, as Snakemake holds them.
    source : str
        The file that the experiment came from, for messages.

    Raises
    ------
    ConfigurationProblem
        For the first file with errors, one line an error.
    """
    folder = Path(folder)
    files = {
        name: str(folder / f"{name}.yaml")
        for name in ("datasets", "generators", "encoders", "methods", "evaluation")
    }
    content = {name: read_yaml(path) for name, path in files.items()}
    methods = content["methods"]
    for name, entry in methods.items():
        if not isinstance(entry, dict):
            raise ConfigurationProblem(
                f"{files['methods']}, {name}: found {entry!r}; allowed: a mapping of settings"
            )
    return Configuration(
        experiment=validate(Experiment, dict(experiment), source),
        source=source,
        datasets=validate(Datasets, content["datasets"], files["datasets"]),
        generators=validate(dict[Name, Generator], content["generators"], files["generators"]),
        encoders=validate(dict[Name, Encoder], content["encoders"], files["encoders"]),
        methods=methods,
        evaluation=validate(Evaluation, content["evaluation"], files["evaluation"]),
        files=files,
    )


def validate(model: Any, content: Any, source: str, prefix: tuple[str, ...] = ()) -> Any:
    """`content` as `model`, or a `ConfigurationProblem` that lists what is wrong in `source`."""
    content = _frozen(content)
    try:
        return TypeAdapter(model).validate_python(content)
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for item in error.errors():
            key, problem = _explain(item, content)
            problems.setdefault(".".join((*prefix, *key)) or "top level", []).append(problem)
        # A union reports each of its members: one line a place, with all that it allows.
        lines = [
            f"{source}, {key}: {' or '.join(dict.fromkeys(found))}"
            for key, found in problems.items()
        ]
        raise ConfigurationProblem("\n".join(lines)) from None


def _frozen(content: Any) -> Any:
    """YAML knows lists only; strict mode wants the tuples that immutable models hold."""
    if isinstance(content, Mapping):
        return {key: _frozen(value) for key, value in content.items()}
    if isinstance(content, list):
        return tuple(map(_frozen, content))
    return content


def _explain(item: Mapping, content: Any) -> tuple[list[str], str]:
    """The place of a pydantic error, as one follows it in the file, and what is wrong there."""
    place, value = [], content
    for part in item["loc"]:
        # The location also names members of unions, which the file does not.
        if (isinstance(value, Mapping) and part in value) or (
            isinstance(value, tuple) and isinstance(part, int) and part < len(value)
        ):
            value = value[part]
        elif item["type"] != "missing" or part != item["loc"][-1]:
            continue
        place.append(str(part))
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    message = message.replace("a valid tuple", "a list")
    match item["type"]:
        case "missing":
            return place, "missing; a value is required here"
        case "value_error":
            return place, message
        case "union_tag_invalid":
            tag = item["ctx"]["discriminator"].strip("'")
            allowed = item["ctx"]["expected_tags"]
            return [*place, tag], f"found {item['ctx']['tag']!r}; allowed: {allowed}"
        case "union_tag_not_found":
            tag = item["ctx"]["discriminator"].strip("'")
            return [*place, tag], "missing; a value is required here"
    return place, f"found {_shown(value)}; allowed: {message}"


def _shown(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 100 else text[:97] + "..."
