"""What the Snakefile does before its rules: configuration, and locks of runs that were killed."""

import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from workflow_scripts.configuration import (
    ConfigurationProblem,
    load_configuration,
    read_yaml,
)
from workflow_scripts.plan import Plan
from workflow_scripts.plan.preview import preview
from workflow_scripts.privacy.register import Register

DEFAULT = "config/config.yaml"
LOCK_ATTEMPTS, LOCK_PAUSE = 40, 0.25


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
    if _is_dry_run(arguments):
        if workflow.is_main_process and "--quiet" not in arguments:
            print(preview(plan), *absent, sep="\n", file=sys.stderr)
    elif absent:
        raise ConfigurationProblem("\n".join(absent))
    return plan


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


def _relative(path: Path) -> Path:
    """Relative to the working directory where it lies below it: shorter messages."""
    path = Path(path).absolute()
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def clear_stale_lock(workflow, arguments: Sequence[str], folder: str = ".snakemake") -> None:
    """Remove the lock of a Snakemake that was killed, and hold a better one.

    Snakemake's lock is a set of files that outlive a `kill -9`. A kernel lock does not: if this
    process gets it, no living Snakemake holds it, and lock files that are there are stale. If
    another process holds it, nothing is touched, and Snakemake itself says that the directory is
    in use. The lock is held until this process ends. Jobs that outlive their Snakemake do no harm:
    every write is whole, and releases are journalled.
    """
    if not workflow.is_main_process or _is_dry_run(arguments):
        return
    Path(folder).mkdir(exist_ok=True)
    lock_files = Path(folder, "locks")
    descriptor = os.open(Path(folder, "alive.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    for _ in range(LOCK_ATTEMPTS):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock_files, ignore_errors=True)
            lock_files.mkdir()
            return
        if lock_files.is_dir() and any(lock_files.iterdir()):
            return
        # Held, but without lock files: a process that is about to end, or about to begin.
        time.sleep(LOCK_PAUSE)


def _is_dry_run(arguments: Sequence[str]) -> bool:
    return any(
        argument in ("--dry-run", "--dryrun") or re.fullmatch("-[a-zA-Z]*n[a-zA-Z]*", argument)
        for argument in arguments
    )
