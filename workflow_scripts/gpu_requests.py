"""What jobs ask a cluster for when they need a GPU.

A rule says `gpu=1`, or gives `gpu` as a function of its wildcards. Two things of a cluster change
that: jobs that are submitted together have to ask for the same, and some Slurms want `gres`.
"""

from functools import cache, partial


def adapt_gpu_requests(workflow) -> None:
    """Change the `gpu` of rules, and their `gres` if the default resources have one.

    - The jobs of an array get what the first one asks for. So each of them asks for a GPU if any
      job of their rule needs one; else what needs one might run without.
    - `gres` among the default resources stands for `gpu=1`, and is asked for where that would be.
      The jobs of a group have to agree on it, so all of a group ask for it if one of its rules may
      need a GPU.

    Both are known only when jobs are about to be submitted: Snakemake reads the Snakefile before
    it looks at the groups and the arrays of its profiles.
    """
    needs = {rule: rule.resources["gpu"] for rule in workflow.rules if "gpu" in rule.resources}
    defaults = workflow.resource_settings.default_resources or {}
    has_gres = "gres" in defaults

    @cache
    def needed_by_any(rule) -> int:
        jobs = (job for job in workflow.dag.jobs if job.rule == rule)
        return max(needs[rule].evaluate(job.wildcards).value for job in jobs)

    def gpu_of(rule, wildcards) -> int:
        if rule not in needs:
            return 0
        if _in_array(rule, workflow):
            return needed_by_any(rule)
        return needs[rule].evaluate(wildcards).value

    def gres_of(rule):
        def request(wildcards, **job):
            if rule.group:
                asks = any(other.group == rule.group for other in needs)
            else:
                asks = gpu_of(rule, wildcards)
            return defaults["gres"].evaluate(wildcards, **job).value if asks else None

        return request

    for rule in workflow.rules:
        if has_gres and rule.resources["gres"] == defaults["gres"]:
            rule.resources["gres"] = gres_of(rule)
        if rule in needs:
            rule.resources["gpu"] = 0 if has_gres else partial(gpu_of, rule)


def _in_array(rule, workflow) -> bool:
    """Whether the Slurm executor submits the jobs of a rule as arrays."""
    setting = getattr(workflow.executor_settings, "array_jobs", None) or ""
    return bool({rule.name, "all"} & {name.strip() for name in setting.split(",")})
