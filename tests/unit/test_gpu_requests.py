"""What jobs ask a cluster for, submitted one by one, in groups and in arrays."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from snakemake.resources import Resources

from workflow_scripts.gpu_requests import adapt_gpu_requests


@dataclass(eq=False)
class Rule:
    name: str
    resources: Resources
    group: str | None = None


def workflow_of(rules: dict[str, dict], gres: str | None = None, arrays: str | None = None):
    """A workflow of rules with these resources, and two jobs of each: a network and a simulator."""
    defaults = Resources.from_mapping({"gres": gres} if gres else {})
    made = []
    for name, resources in rules.items():
        merged = defaults.copy()
        merged.update(Resources.from_mapping(resources))
        made.append(Rule(name, merged))
    jobs = [SimpleNamespace(rule=rule, wildcards=kind) for rule in made for kind in KINDS]
    return SimpleNamespace(
        rules=made,
        dag=SimpleNamespace(jobs=jobs),
        resource_settings=SimpleNamespace(default_resources=defaults),
        executor_settings=SimpleNamespace(array_jobs=arrays),
    )


KINDS = ("simulator", "network")
RULES = {
    "vary": {"gpu": lambda wildcards: int(wildcards == "network")},
    "finetune": {"gpu": 1},
    "vote": {},
}


def asked(workflow, resource: str) -> dict[str, list]:
    """A resource of both jobs of every rule, nothing where the rule does not have it."""

    def value(rule, wildcards):
        if resource not in rule.resources:
            return None
        return rule.resources[resource].evaluate(wildcards, attempt=1).value

    return {rule.name: [value(rule, kind) for kind in KINDS] for rule in workflow.rules}


def test_a_job_asks_for_a_gpu_where_it_needs_one():
    workflow = workflow_of(RULES)
    adapt_gpu_requests(workflow)
    assert asked(workflow, "gpu") == {"vary": [0, 1], "finetune": [1, 1], "vote": [None, None]}


@pytest.mark.parametrize("arrays", ["vary,sample", "sample, vary", "all"])
def test_the_jobs_of_an_array_ask_for_what_one_of_them_needs(arrays):
    workflow = workflow_of(RULES, arrays=arrays)
    adapt_gpu_requests(workflow)
    assert asked(workflow, "gpu") == {"vary": [1, 1], "finetune": [1, 1], "vote": [None, None]}


def test_an_array_of_simulators_alone_asks_for_none():
    workflow = workflow_of(RULES, arrays="vary")
    workflow.dag.jobs = [job for job in workflow.dag.jobs if job.wildcards == "simulator"]
    adapt_gpu_requests(workflow)
    assert asked(workflow, "gpu")["vary"] == [0, 0]


def test_gres_stands_for_gpu_where_that_is_not_0():
    workflow = workflow_of(RULES, gres="gpu:a100:1")
    adapt_gpu_requests(workflow)
    assert asked(workflow, "gpu") == {"vary": [0, 0], "finetune": [0, 0], "vote": [None, None]}
    assert asked(workflow, "gres") == {
        "vary": [None, "gpu:a100:1"],
        "finetune": ["gpu:a100:1"] * 2,
        "vote": [None, None],
    }


def test_a_gres_of_a_rule_itself_is_left_as_it_is():
    workflow = workflow_of({"finetune": {"gpu": 1, "gres": "gpu:h100:2"}}, gres="gpu:1")
    adapt_gpu_requests(workflow)
    assert asked(workflow, "gres") == {"finetune": ["gpu:h100:2"] * 2}
    assert asked(workflow, "gpu") == {"finetune": [0, 0]}


def test_the_jobs_of_a_group_agree_on_gres():
    workflow = workflow_of(RULES, gres="gpu:1")
    adapt_gpu_requests(workflow)
    # Snakemake knows the groups of a profile later than the rules.
    for rule in workflow.rules:
        rule.group = None if rule.name == "finetune" else "turn"
    assert asked(workflow, "gres") == {name: ["gpu:1", "gpu:1"] for name in RULES}
    workflow.rules[0].group = None
    assert asked(workflow, "gres")["vote"] == [None, None]


def test_the_jobs_of_an_array_agree_on_gres():
    workflow = workflow_of(RULES, gres="gpu:1", arrays="vary")
    adapt_gpu_requests(workflow)
    assert asked(workflow, "gres")["vary"] == ["gpu:1", "gpu:1"]
