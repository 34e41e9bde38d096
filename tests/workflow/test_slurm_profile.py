"""The Slurm profile fits the workflow; no Slurm is needed to see that (tests/slurm has one)."""

import re
import shutil

import pytest
import yaml

from tests.workflow.conftest import ROOT


def named_in_profiles() -> dict[str, set[str]]:
    """The rules that the profiles name, by the entry that names them."""
    sizes = yaml.safe_load((ROOT / "profiles/default/profile.yaml").read_text())
    profile = yaml.safe_load((ROOT / "slurm/profile.yaml").read_text())
    arrays = yaml.safe_load((ROOT / "slurm/arrays.yaml").read_text())
    return {
        "set-resources": set(sizes["set-resources"]),
        "groups": set(profile["groups"]),
        "arrays": set(arrays["slurm-array-jobs"].split(",")),
    }


@pytest.fixture(scope="module")
def rules() -> set[str]:
    text = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    return set(re.findall(r"^(?:rule|use rule \w+ as) (\w+)", text, re.M))


@pytest.mark.parametrize("entry", ["set-resources", "groups", "arrays"])
def test_every_rule_that_a_profile_names_exists(rules, entry):
    assert named_in_profiles()[entry] <= rules


def test_rules_that_are_arrays_are_in_no_group():
    named = named_in_profiles()
    assert not named["arrays"] & named["groups"]


def test_the_profile_is_found_from_a_clone_and_groups_the_jobs_of_seconds(project):
    shutil.copytree(ROOT / "slurm", project.folder / "slurm")
    outcome = project.snakemake("-n", "--profile", "slurm")
    assert outcome.status == 0, outcome.text[-4000:]
    assert "profiles slurm and workflow specific profile profiles/default" in outcome.text
    asked = re.findall(r"rule (\w+):(?:\n .*)*?\n +resources: (.*)", outcome.text)
    memory = {rule: re.search(r"mem_mb=(\d+)", resources)[1] for rule, resources in asked}
    # From the sizes of the rules, and the default of the Slurm profile.
    assert (memory["vary"], memory["release"]) == ("16000", "2000")


def test_a_gres_of_the_site_is_asked_for_by_jobs_with_a_gpu_and_their_groups(project):
    shutil.copytree(ROOT / "slurm", project.folder / "slurm")
    gres = ("--default-resources", "mem_mb=2000", "gres='gpu:1'")
    outcome = project.snakemake("-n", "--profile", "slurm", *gres, configfile=None)
    assert outcome.status == 0, outcome.text[-4000:]
    asked = re.findall(r"rule (\w+):(?:\n .*)*?\n +resources: (.*)", outcome.text)
    gpus = {(rule, "gres=gpu:1" in resources) for rule, resources in asked}
    assert not any("gpu=1" in resources for _, resources in asked)
    # The demo's simulators need none; its diffusion model does.
    assert {("vary", False), ("vary", True), ("train_generator", True)} <= gpus
    assert {("select", False), ("account", False)} <= gpus
    # One group: also for the classifiers that need none.
    assert {(rule, has) for rule, has in gpus if rule.startswith("evaluate")} == {
        (f"evaluate_{what}", True)
        for what in ("utility", "real_utility", "fidelity", "real_fidelity", "iterations")
    }


def test_logs_of_the_sensitive_zone_are_not_shown_on_the_terminal():
    for path in (ROOT / "slurm").glob("*.yaml"):
        assert "show-failed-logs" not in yaml.safe_load(path.read_text())
