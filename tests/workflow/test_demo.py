"""The default demo's Sim-PE at its real size: the accuracy that the project promises."""

import pandas as pd
import pytest
import yaml

from tests.workflow.conftest import ROOT, new_project

pytestmark = pytest.mark.slow


def test_sim_pe_reaches_the_promised_accuracy_on_real_digits(tmp_path, torch_is_forbidden):
    """Seeded noise, so the numbers are fixed; 0.55 and 0.70 are asked for, `random` has 0.30."""
    project = new_project(tmp_path / "project")
    catalogue = (ROOT / "config/generators.yaml").read_text()
    (project.folder / "config/generators.yaml").write_text(catalogue)
    demo = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    assert demo["epsilons"] == [1, 10] and demo["seeds"] == [0, 1]
    assert set(demo["methods"]) == {"random", "real", "sim-pe", "pe"}
    project.write_experiment(
        {
            **demo,
            "methods": ["random", "real", "sim-pe"],
            "noise_source": "seeded",
            "classifiers": ["logistic"],
            "fidelity_encoders": [],
        }
    )
    project.build(**torch_is_forbidden)
    table = pd.read_csv(project.results / "reports/demo/table.csv")
    accuracy = table.set_index(["method", "epsilon"])["accuracy_logistic_mean"]
    assert accuracy["sim-pe", 1] >= 0.55 and accuracy["sim-pe", 10] >= 0.70
    assert accuracy["real"].item() > accuracy["sim-pe", 10] > accuracy["sim-pe", 1]
    assert accuracy["sim-pe", 1] > accuracy["random"].item() + 0.2
