"""Entries of kind `edm`: what is allowed, and what is refused before a job."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from workflow_scripts.configuration import ConfigurationProblem, load_configuration
from workflow_scripts.configuration.generators import EdmGenerator, EdmSampling
from workflow_scripts.edm.pipeline import solver_of
from workflow_scripts.edm.sampling import Solver
from workflow_scripts.plan.catalogue import Catalogue

ROOT = Path(__file__).parents[2]
CATALOGUE = ("datasets", "generators", "encoders", "methods", "evaluation")


@pytest.fixture
def catalogue(tmp_path):
    """A catalogue of the shipped files with changes in the network or elsewhere of `glyph-edm`."""

    def load(**changes) -> Catalogue:
        for name in CATALOGUE:
            content = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
            if name == "generators":
                content["glyph-edm"]["network"] |= changes
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
        experiment = yaml.safe_load((ROOT / "config/config.yaml").read_text())
        return Catalogue(load_configuration(tmp_path, experiment, "my.yaml"), tmp_path)

    return load


def sampling(**changes) -> EdmSampling:
    return EdmSampling(**({"steps": 10} | changes))


def test_the_shipped_model_is_a_stage_of_its_data(catalogue):
    made = catalogue()
    stage = made.generator_stage("glyph-edm", "my.yaml")
    (public,) = stage.parents
    assert public.name == "glyphs" and made.uses_torch(stage)
    assert made.image_of(stage) == made.public("glyphs", "").image
    assert made.check_drawable(stage, ("a", "b"), {"b": "B"}, "") == ("a", "B")
    with pytest.raises(ConfigurationProblem, match="'ten'; allowed: 0, 1, 2"):
        made.check_drawable(stage, ("ten",), {}, "my.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"multipliers": [1] * 5}, "network.multipliers: found 5 levels, which halve images of 8"),
        ({"attention": [4, 16]}, "network.attention: found 16; allowed: 8, 4"),
    ],
)
def test_a_network_that_does_not_fit_the_images_is_refused(catalogue, changes, said):
    with pytest.raises(ConfigurationProblem, match=f"generators.yaml, glyph-edm.{said}"):
        catalogue(**changes).generator_stage("glyph-edm", "my.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"channels": 12}, "multiple of 8"),
        ({"multipliers": []}, "network.multipliers"),
        ({"width": 3}, "unknown key 'width'"),
    ],
)
def test_an_impossible_network_is_refused(catalogue, changes, said):
    with pytest.raises(ConfigurationProblem, match=said):
        catalogue(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"churn": 10.0}, "churn: goes with sampler: churn; found ddim"),
        ({"sampler": "heun", "churn_noise": 1.0}, "churn_noise: goes with sampler: churn"),
        ({"sampler": "churn"}, "churn: missing"),
        ({"sampler": "churn", "churn": 0.0}, "greater than 0"),
        ({"sampler": "churn", "churn": 1.0, "churn_levels": (2.0, 1.0)}, "exceeds the largest"),
        ({"sampler": "euler"}, "'ddim', 'heun', 'churn'"),
        ({"steps": 0}, "greater than or equal to 1"),
    ],
)
def test_sampling_that_makes_no_sense_is_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        sampling(**changes)


def test_sampling_settings_become_a_solver():
    plain = sampling().model_dump(mode="json")
    assert solver_of(plain) == Solver("ddim")
    churned = sampling(sampler="churn", churn=40.0, churn_levels=(0.05, 50.0), churn_noise=1.003)
    found = solver_of(churned.model_dump())
    assert found == Solver("churn", 40.0, (0.05, 50.0), 1.003)


def test_what_is_not_said_has_the_papers_values():
    entry = yaml.safe_load((ROOT / "config/generators.yaml").read_text())["glyph-edm"]
    training = EdmGenerator.model_validate(entry, strict=False).training
    assert (training.ema, training.label_dropout, training.flip) == (0.999, 0.1, False)
