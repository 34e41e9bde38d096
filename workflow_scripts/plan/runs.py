"""Runs, the cells of the grid, and what the runs of a method are made of."""

from dataclasses import dataclass
from functools import cached_property

from workflow_scripts.configuration.methods import (
    DpSgdMethod,
    PEMethod,
    RandomMethod,
    RealMethod,
)
from workflow_scripts.privacy.events import Event
from workflow_scripts.privacy.zones import ACCOUNTS, JOURNAL
from workflow_scripts.stages import Stage

REAL = "real"


@dataclass(frozen=True, eq=False)
class Run:
    """One cell of the grid: a data set, a method, ε and a seed.

    Attributes
    ----------
    epsilon : str
        As it prints in paths: %g; `0` for `random`, `inf` for `real`.
    iterations : int
        T of Private Evolution; 0 for the others.
    """

    dataset: Stage
    method: Stage
    settings: RandomMethod | PEMethod | DpSgdMethod | RealMethod
    epsilon: str
    seed: int

    @cached_property
    def iterations(self) -> int:
        return self.settings.rounds if isinstance(self.settings, PEMethod) else 0

    @property
    def is_real(self) -> bool:
        return isinstance(self.settings, RealMethod)

    @property
    def is_trained(self) -> bool:
        """Whether the run trains a model with DP-SGD."""
        return isinstance(self.settings, DpSgdMethod)

    @property
    def counts_classes(self) -> bool:
        """Whether the run releases noisy counts of the classes."""
        return getattr(self.settings, "class_count_noise", None) is not None

    @cached_property
    def identity(self) -> str:
        return f"{self.dataset.label}/{self.method.label}/eps{self.epsilon}/seed{self.seed}"

    @property
    def directory(self) -> str:
        """Where the run's files lie; `real` has none outside the evaluation zone."""
        return f"results/runs/{self.identity}"

    def journal(self, release: str) -> str:
        """Where a release is journalled: `iter{t}`, `class_counts`, `choice` or `finetuned`."""
        return f"{JOURNAL}/{self.identity}/{release}.safetensors"

    @property
    def register(self) -> str:
        """Where everything that was released of the data set is written down."""
        return f"{ACCOUNTS}/{self.dataset.name}/register.jsonl"

    @property
    def evaluation(self) -> str:
        if self.is_real:
            return f"results/evaluation/{self.dataset.label}/{REAL}/seed{self.seed}"
        return f"results/evaluation/{self.identity}"


@dataclass(frozen=True, eq=False)
class MethodStages:
    """What a method's runs on one data set are built from.

    Attributes
    ----------
    generators : tuple of Stage
        Of iteration t = 0 … T; RANDOM is the first phase's.
    classes : dict of tuples
        Generator's label → its names of the data set's classes.
    initial : Stage
        The initial population.
    fractions : tuple of float
        Declared weights of the classes.
    encoder, lookahead : Stage
        Of Private Evolution alone.
    """

    generators: tuple[Stage, ...]
    classes: dict[str, tuple[str, ...]]
    initial: Stage
    fractions: tuple[float, ...]
    encoder: Stage | None = None
    lookahead: Stage | None = None


@dataclass(frozen=True, eq=False)
class Query:
    """A release of fixed noise before the training; all runs of a seed share it, whatever their ε.

    Attributes
    ----------
    stage : Stage
    event : Event
        What it costs; one more release of every run that uses it.
    """

    stage: Stage
    event: Event

    @property
    def mechanism(self) -> str:
        """The rule that releases it."""
        return self.stage.settings["mechanism"]

    def identity(self, run: Run) -> str:
        return f"{run.dataset.label}/queries/{self.stage.label}/seed{run.seed}"

    def directory(self, run: Run) -> str:
        return f"results/runs/{self.identity(run)}"

    def journal(self, run: Run) -> str:
        return f"{JOURNAL}/{self.identity(run)}.safetensors"


@dataclass(frozen=True, eq=False)
class TrainingStages:
    """What a method that trains with DP-SGD is made of on one data set.

    Attributes
    ----------
    samples_per_class : tuple of int
        That the trained model is asked for.
    training : Stage
        The training itself: what it depends on and nothing else, so that another number of images,
        or another sampler, trains nothing anew.
    start : Stage or None
        The model that the training starts from: a generator that was trained on public data, or
        the training on a query's answer; None at random weights.
    query : Query or None
        What the sensitive data are asked before the training.
    """

    samples_per_class: tuple[int, ...]
    training: Stage
    start: Stage | None
    query: Query | None
