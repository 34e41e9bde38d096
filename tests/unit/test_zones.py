"""The boundary: what a rule may read and write."""

from pathlib import Path

import pytest

from workflow_scripts.privacy import zones
from workflow_scripts.privacy.zones import BoundaryViolation, check_rule, open_sensitive, within

PRIVATE = "results/sensitive/{dataset}/train.safetensors"
LOG = "results/sensitive/{dataset}/logs/x.log"
VOTES = {"votes": "results/runs/{dataset}/votes", "ledger": "results/runs/{dataset}/ledger.json"}


def check(name, inputs, outputs, records=(LOG,)):
    outputs = outputs if isinstance(outputs, dict) else dict(enumerate(outputs))
    check_rule(name, "rules/x.smk", inputs, outputs, records)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "records"),
    [
        ("vote", [PRIVATE], VOTES, [LOG]),
        ("embed_sensitive", [PRIVATE], ["results/sensitive/{dataset}/e.safetensors"], [LOG]),
        ("prepare_sensitive", ["data/raw.npz"], [PRIVATE], [LOG]),
        ("fetch_sensitive", [], ["results/sensitive/{dataset}/source/x"], [LOG]),
        ("count_classes", [PRIVATE], VOTES, [LOG]),
        ("prepare_public", ["data/x.npz"], ["results/public/x"], ["results/logs/x"]),
        ("evaluate_utility", [PRIVATE], ["results/evaluation/{dataset}/m.json"], [LOG]),
        ("collect_metrics", ["results/evaluation/a.json"], ["results/reports/m.csv"], []),
        ("scan", [PRIVATE, "results/reports/r.html"], [], [LOG]),
        ("vary", ["results/runs/{dataset}/p"], ["results/runs/{dataset}/q"], ["results/logs/x"]),
    ],
)
def test_what_the_workflow_does_is_allowed(name, inputs, outputs, records):
    check(name, inputs, outputs, records)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "records", "reason"),
    [
        ("copy", [PRIVATE], ["results/runs/x"], [LOG], "neither a mechanism nor an evaluation"),
        ("vote", [PRIVATE], {"votes": VOTES["votes"]}, [LOG], "output named ledger"),
        ("vote", [PRIVATE], {**VOTES, "x": "elsewhere/x"}, [LOG], "must write to results/runs/"),
        ("vote", [PRIVATE], VOTES, ["results/logs/vote.log"], "log and benchmark"),
        ("vote", [PRIVATE], VOTES, [], "log and benchmark"),
        ("evaluate_utility", [PRIVATE], ["results/runs/x"], [LOG], "results/evaluation/"),
        ("select", ["results/evaluation/a"], ["results/runs/x"], [], "evaluation zone"),
        ("evaluate_utility", ["results/evaluation/a"], ["results/evaluation/b"], [], "evaluation"),
        ("collect_metrics", ["results/evaluation/a"], ["results/runs/b"], [], "evaluation zone"),
        ("embed_sensitive", [PRIVATE], ["results/public/x"], [LOG], "only there"),
        ("prepare_sensitive", ["raw"], [PRIVATE], ["results/logs/x"], "only there"),
        ("fetch", ["raw.npz"], [PRIVATE], [LOG], "outside the zones"),
        ("embed_sensitive", ["raw.npz"], ["results/sensitive/e"], [LOG], "outside the zones"),
        ("fetch", ["private/mine.npz"], ["results/public/x"], [], "outside the zones"),
        ("prepare_public", ["data/x.npz"], ["results/runs/x"], [], "results/public/"),
        ("fetch_sensitive", [], ["results/public/x"], [], "only there"),
        ("x", ["results/sens{r}/a"], ["results/runs/x"], [], "literal"),
        ("x", ["results/./sensitive/a"], ["results/runs/x"], [LOG], "neither a mechanism"),
        ("x", ["results//sensitive/a"], ["results/runs/x"], [LOG], "neither a mechanism"),
        ("x", ["/{d}/results/sensitive/a"], ["results/runs/x"], [], "literal"),
        ("x", [f"{Path.cwd()}/results/sensitive/a"], ["results/runs/x"], [LOG], "neither"),
        ("x", ["results/elsewhere/a"], ["results/runs/x"], [], "in no zone"),
        ("vary", ["results/reports/m.csv"], ["results/runs/x"], [], "only other reports"),
        ("scan", [PRIVATE, "results/reports/r.html"], [PRIVATE], [LOG], "only other reports"),
        ("scan", [PRIVATE, "results/reports/r.html"], [], ["results/logs/x"], "only there"),
        ("scan", [PRIVATE, "results/reports/r.html"], [], [], "only there"),
        ("scan", [PRIVATE, "results/evaluation/a"], [], [LOG], "evaluation zone"),
        ("copy", [PRIVATE], [], [LOG], "neither a mechanism nor an evaluation"),
        ("x", ["results/{zone}/a"], ["results/runs/x"], [], "literal"),
        ("x", ["{path}"], ["results/runs/x"], [], "literal"),
        ("x", ["results/runs/../sensitive/a"], ["results/runs/x"], [], "'..'"),
        ("x", ["./results/sensitive/a"], ["results/runs/x"], [LOG], "neither a mechanism"),
        ("x", [lambda wildcards: "a"], ["results/runs/x"], [], "does not declare its zones"),
        ("x", [within("sensitive")(lambda w: "a")], ["results/runs/x"], [LOG], "neither"),
    ],
)
def test_every_kind_of_leak_is_refused_with_rule_file_and_reason(
    name, inputs, outputs, records, reason
):
    with pytest.raises(BoundaryViolation, match=reason) as refusal:
        check(name, inputs, outputs, records)
    assert str(refusal.value).startswith(f"rule {name} (rules/x.smk): ")


def test_an_input_function_is_held_to_the_zones_that_it_declares():
    @within("public", "released")
    def located(path):
        return path

    assert located("results/public/a") == "results/public/a"
    assert located(["results/runs/a", "results/public/b"])
    assert located([]) == []
    for path in ("results/sensitive/a", ["results/public/a", "results/evaluation/b"], "raw"):
        with pytest.raises(BoundaryViolation, match="outside the declared"):
            located(path)


def test_a_misspelt_zone_is_no_declaration():
    with pytest.raises(ValueError, match="sensitve"):
        within("sensitve")
    with pytest.raises(ValueError, match="zones are"):
        within()


def test_the_door_opens_for_declared_rules_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zone = zones.secure_zone()
    assert zone.stat().st_mode & 0o777 == 0o700
    assert open_sensitive("results/sensitive/a", "vote").name == "a"
    with pytest.raises(BoundaryViolation, match="has not declared"):
        open_sensitive("results/sensitive/a", "vary")
    with pytest.raises(BoundaryViolation, match="is not in"):
        open_sensitive("results/runs/a", "vote")
    zone.chmod(0o750)
    with pytest.raises(BoundaryViolation, match="mode 750"):
        open_sensitive("results/sensitive/a", "vote")


def test_no_rule_is_declared_twice():
    declared = [zones.MECHANISMS, zones.EVALUATIONS, zones.PREPARATIONS, zones.REPORTS]
    assert sum(map(len, declared)) == len(frozenset().union(*declared))


def test_a_link_into_the_sensitive_zone_is_that_zone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/sensitive").mkdir(parents=True)
    (tmp_path / "innocent").symlink_to("results/sensitive")
    assert zones.zone_of("innocent/train.safetensors") == "sensitive"
    assert zones.zone_of("elsewhere/train.safetensors") is None


def test_results_and_what_lies_above_them_are_not_apart(tmp_path, monkeypatch):
    project, disk = tmp_path / "project", tmp_path / "disk"
    monkeypatch.chdir(tmp_path)
    (project / "results").mkdir(parents=True)
    (disk / "public").mkdir(parents=True)
    (project / "results/public").symlink_to(disk / "public")
    monkeypatch.chdir(project)
    inside = ["results/runs/x", "results/public/x", disk / "public/x", project / "results/other"]
    for path in [*inside, ".", "results", tmp_path, disk, "/"]:
        assert not zones.is_apart(path), path
    for path in ["data", project / "resultsx", disk / "private", tmp_path / "elsewhere/x"]:
        assert zones.is_apart(path), path
