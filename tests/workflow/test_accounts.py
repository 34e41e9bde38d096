"""What a data set has spent over runs and experiments, in a real workflow."""

import hashlib
import json
import shutil

import pytest
import yaml

from tests.workflow.conftest import SMALL


def total_of(project) -> dict:
    return json.loads((project.results / "accounts/digits/privacy-total.json").read_text())


def test_every_release_has_its_statement_and_checksums(built_once):
    folders = [path.parent for path in built_once.find("runs/*/*/eps*/seed*/SHA256SUMS")]
    assert len(folders) == 2
    for folder in folders:
        lines = (folder / "SHA256SUMS").read_text().splitlines()
        assert [line.split()[1] for line in lines] == [
            "release.safetensors",
            "privacy.json",
            "statement.md",
        ]
        for checksum, name in map(str.split, lines):
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum
    page = built_once.one("runs/*/sim-pe~*/*/*/statement.md").read_text()
    assert "# Privacy of digits, sim-pe, ε = 10, seed 0" in page
    assert "Not for release" in page and "| vote | 3 |" in page and "1,437" in page
    assert "Nothing was read from digits" in built_once.one("runs/*/random~*/*/*/*.md").read_text()


def test_a_total_outlives_directories_and_a_cap_refuses_what_exceeds_it(built):
    first = total_of(built)
    stated = json.loads(built.one("runs/*/sim-pe~*/*/*/privacy.json").read_text())
    assert first["releases"] == 3
    assert first["epsilon"] == pytest.approx(stated["epsilon"], rel=1e-6)
    table = (built.results / "reports/small/table.md").read_text()
    assert "together (3 releases) spends ε = 10.00" in table
    assert "all 3 releases ever drawn from digits cost ε = 10.00" in table

    # Room for one more vote of the same noise, and no more: another seed stops at its second.
    catalogue = built.folder / "config/datasets.yaml"
    plain = catalogue.read_text()
    content = yaml.safe_load(plain)
    content["sensitive"]["digits"]["cap"] = {"epsilon": 12.5, "delta": 9.5e-5}
    catalogue.write_text(yaml.safe_dump(content, sort_keys=False))
    other = {**SMALL, "seeds": [1], "methods": ["sim-pe"]}
    other["overrides"] = {"sim-pe": SMALL["overrides"]["sim-pe"]}
    built.write_experiment(other, "other.yaml")
    outcome = built.snakemake("--cores", "2", configfile="other.yaml")
    assert outcome.status == 1 and "Traceback" not in outcome.text
    (log,) = built.find("sensitive/*/logs/vote/sim-pe~*/eps10/seed1/iter2.log")
    assert "more than its cap ε = 12.5" in log.read_text()
    votes = built.find("sensitive/journal/*/sim-pe~*/eps10/seed1/iter*.safetensors")
    assert [path.name for path in votes] == ["iter1.safetensors"]

    # Old directories go, what they cost stays.
    for folder in built.find("runs/*/sim-pe~*"):
        shutil.rmtree(folder)
    catalogue.write_text(plain)
    built.build("results/accounts/digits/privacy-total.json", configfile="other.yaml")
    total = total_of(built)
    assert total["releases"] == 6 and total["epsilon"] > 1.3 * first["epsilon"]
    assert set(first["identities"]) < set(total["identities"])
