"""`snakemake audit` as a user runs it: of the code as it is, and of code with a fault."""

import re

import pytest

from tests.workflow.conftest import Project

pytestmark = pytest.mark.slow


def verdicts(project: Project) -> list[str]:
    table = (project.results / "audits/audits.md").read_text()
    return re.findall(r"\| (pass|FAIL) \|$", table, re.M)


def test_the_audits_pass_and_print_their_table_and_halved_noise_is_found(project):
    outcome = project.snakemake("audit", "--cores", "2")
    assert outcome.status == 0, outcome.text[-4000:]
    assert len(verdicts(project)) > 100 and set(verdicts(project)) == {"pass"}
    assert "| mechanism | check | claimed ε | found | allowed | verdict |" in outcome.text
    for part in ("votes, k = 3, joint", "query, k = 1", "class counts", "DP-SGD, sampler"):
        assert part in outcome.text
    # Nothing of the experiment was needed, and nothing sensitive is there.
    assert not project.find("runs/*") and not project.find("sensitive/*")

    path = project.folder / "workflow_scripts/privacy/discrete_gaussian.py"
    code = path.read_text()
    planted = code.replace(
        "noise.discrete_gaussian(counts, self.scale)",
        "noise.discrete_gaussian(counts, self.scale / 2)",
    )
    assert planted != code
    path.write_text(planted)
    outcome = project.snakemake("audit", "--cores", "2")
    assert outcome.status != 0 and "Traceback" not in outcome.text
    assert "audits failed" in outcome.text and "noise: standard deviation / claimed" in outcome.text
    assert "FAIL" in verdicts(project), "the table stays"
