"""What the Snakefile does before its rules: the configuration, and what jobs inherit."""

import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from snakemake.cli import get_argument_parser

from workflow_scripts.configuration import (
    ConfigurationProblem,
    load_configuration,
    read_yaml,
)
from workflow_scripts.plan import Plan
from workflow_scripts.plan.preview import preview
from workflow_scripts.privacy.register import Register

DEFAULT = "config/config.yaml"
# Two, and some to spare.
CALLS_A_JOB = 4
# `-n`, after other short options that take no value.
SHORT_DRY_RUN = re.compile("-[tkfFlSDvpa]*n")


def plan_of(workflow, config: Mapping, arguments: Sequence[str]) -> Plan:
    """The plan of the experiment that Snakemake was started with.

    `--configfile X` replaces the default experiment (Snakemake would merge the two); `--config`
    changes single keys of either. A dry run goes on where files are absent that the configuration
    names, says so, and shows what every run would do.
    """
    root = Path(workflow.basedir)
    given = [str(_relative(file)) for file in workflow.overwrite_configfiles]
    for file in given:
        # Snakemake has read it already; this finds keys that stand there twice.
        read_yaml(file)
    experiment = dict(config)
    if not given:
        experiment = {**read_yaml(_relative(root / DEFAULT)), **experiment}
    source = ", ".join(given) or str(_relative(root / DEFAULT))
    plan = Plan(load_configuration(_relative(root / "config"), experiment, source))
    absent = plan.absent()
    if is_dry_run(arguments):
        quiet = workflow.output_settings.quiet or asks_for_plan(arguments)
        if workflow.is_main_process and not quiet:
            print(preview(plan), *absent, sep="\n", file=sys.stderr)
    elif absent:
        raise ConfigurationProblem("\n".join(absent))
    return plan


def allow_long_chains(plan: Plan) -> None:
    """Let Snakemake's recursion reach the end of the longest chain of jobs.

    It descends from a file to what that is made from, in two calls for each job, and Python stops
    it after 1,000 calls: named by itself, the last population of 160 iterations would be too far
    away.
    """
    needed = sys.getrecursionlimit() + CALLS_A_JOB * plan.longest_chain
    sys.setrecursionlimit(needed)


def declare_caps(plan: Plan) -> None:
    """Write every sensitive data set's cap, or that it has none, into its register."""
    known = plan.configuration.datasets.sensitive
    for register, name in {run.register: run.dataset.name for run in plan.runs}.items():
        cap = known[name].cap
        Register(register).limit(cap and cap.model_dump())


def make_importable(root: str) -> None:
    """Let the scripts of jobs import the package, here and on other machines."""
    paths = [root, os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)


def outlive_warnings(workflow) -> None:
    """Let a Snakemake that runs a job of another one ignore SIGUSR1.

    A scheduler sends it to all processes of a job, some time before it ends the job. The step among
    them keeps its state and ends (`workflow_scripts.interruption`); Snakemake would die at once and
    take the step with it. Where a step does not ask for the signal, it ignores it as well, and has
    the time that is left.
    """
    if not workflow.is_main_process:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _relative(path: Path) -> Path:
    """Relative to the working directory where it lies below it: shorter messages."""
    path = Path(path).absolute()
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def is_dry_run(arguments: Sequence[str]) -> bool:
    """Whether Snakemake was asked to run nothing."""
    return asks_for_plan(arguments) or any(
        argument in ("--dry-run", "--dryrun") or SHORT_DRY_RUN.match(argument)
        for argument in arguments
    )


def asks_for_plan(arguments: Sequence[str]) -> bool:
    """Whether `plan` is among the targets, which `rules/plan.smk` answers."""
    if "plan" not in arguments:
        return False
    return "plan" in get_argument_parser().parse_known_args(list(arguments[1:]))[0].targets
