"""PE with a diffusion model and a trained encoder, through every rule, with hardly any training."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from tests.workflow.conftest import SMALL, Project, new_project

pytestmark = pytest.mark.slow

METHOD = {"samples": 20, "iterations": 2, "lookahead": 1, "encoder": "glyph-cnn"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Project:
    project = new_project(tmp_path_factory.mktemp("trained") / "project")
    project.edit_catalogue("datasets", public={})
    project.edit_catalogue(
        "generators",
        **{
            "glyph-diffusion": {
                "training_steps": 5,
                "batch_size": 8,
                "sampling_steps": 2,
                "timesteps": 10,
                "channels": [8],
                "block_size": 10,
            }
        },
    )
    project.edit_catalogue("encoders", **{"glyph-cnn": {"epochs": 1, "width": 4}})
    project.edit_catalogue("evaluation", classifiers={"cnn": {"kind": "cnn"} | CNN})
    project.write_experiment(
        {
            **SMALL,
            "methods": ["pe"],
            "classifiers": ["cnn"],
            "fidelity_encoders": ["glyph-cnn"],
            "overrides": {"pe": {**METHOD, "variation": {"strength": [1, 0.5]}}},
        }
    )
    project.build()
    return project


CNN = {"width": 4, "epochs": 1, "batch_size": 16, "learning_rate": 0.002}


def test_the_pipeline_is_a_diffusers_folder_without_pickles(trained):
    pipeline = trained.one("public/generators/glyph-diffusion~*/pipeline")
    index = json.loads((pipeline / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet2DModel"]
    weights = [p.name for p in pipeline.rglob("*") if p.suffix not in (".json", "")]
    assert weights == ["diffusion_pytorch_model.safetensors"]


def test_every_class_is_released_in_its_declared_number(trained):
    released = load_file(trained.one("runs/digits~*/pe~*/eps10/seed0/release.safetensors"))
    assert released["images"].shape == (20, 8, 8, 1)
    assert np.bincount(released["labels"]).tolist() == [2] * 10


def test_conditions_are_inherited_and_belong_to_the_label(trained):
    # The first ten glyphs are the ten digits.
    for path in trained.find("runs/digits~*/pe~*/eps10/seed0/final/*.safetensors"):
        population = load_file(path)
        assert population["state.condition"].tolist() == population["labels"].tolist()


def test_metrics_are_named_by_their_encoder_and_never_fid(trained):
    table = pd.read_csv(trained.results / "reports/small/table.csv")
    assert "accuracy_cnn_mean" in table and "frechet_glyph-cnn_mean" in table
    assert not [name for name in table if name.startswith("fid")]
