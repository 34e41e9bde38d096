"""The experiment: a grid over the names of the catalogue."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from workflow_scripts.configuration.model import Count, Index, Model, Name, Positive


class Every(Model):
    """Every n-th iteration."""

    every: Count


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
    # Populations of iterations 1 … T − 1 on disk, for pictures and accuracy by iteration.
    keep_populations: Literal["all", "none"] | Every = "all"
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

    def keeps(self, iteration: int) -> bool:
        """Whether the population of an iteration stays on disk after its last use."""
        if isinstance(self.keep_populations, Every):
            return iteration % self.keep_populations.every == 0
        return self.keep_populations == "all"
