"""What `snakemake -n` takes on a large grid, beside a bare Snakefile of as many jobs.

    python benchmarks/dag.py
    python benchmarks/dag.py --configfile config/experiments/dpimagebench.yaml --repeats 1

The bare workflow (bare.smk) has as many jobs and the shape of the experiment: for every run of
Private Evolution a chain of vote → select → vary, T times, for every other run a short chain. Both
are planned one after the other in this session, in folders without results. Compare CPU seconds:
other work on the machine changes them less than those on the clock.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from workflow_scripts.configuration import load_configuration, read_yaml
from workflow_scripts.plan import Plan

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "rules", "workflow_scripts", "config", "profiles", "environment.yml")
# Jobs of a run in bare.smk: calibrate, account, release and two evaluations, with the first
# population of a chain, or training and sampling.
BESIDES_CHAIN, SHORT = 6, 7


@dataclass(frozen=True)
class DryRun:
    """What a dry run took: jobs, seconds of CPU and on the clock, MB of memory at the peak."""

    jobs: int
    cpu: float
    clock: float
    memory: float


def dry_run(folder: Path, *arguments: str) -> DryRun:
    """`snakemake -n` in a folder, from the start of Python to its end."""
    command = [sys.executable, "-m", "snakemake", "-n", *arguments]
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        child = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)  # noqa: S603
        _, status, used = os.wait4(child.pid, 0)
        clock = time.perf_counter() - start
        output.seek(0)
        text = output.read()
    found = re.search(r"^total +(\d+)$", text, re.MULTILINE)
    if status or not found:
        sys.exit(f"{' '.join(command)} in {folder}:\n{text[-3000:]}")
    return DryRun(int(found[1]), used.ru_utime + used.ru_stime, clock, used.ru_maxrss / 1000)


def shape_of(configfile: str) -> tuple[int, int]:
    """How many runs of an experiment are chains of iterations, and their largest T."""
    experiment = read_yaml(ROOT / configfile)
    plan = Plan(load_configuration(ROOT / "config", experiment, configfile), ROOT)
    chains = [run.iterations for run in plan.runs if run.iterations]
    return len(chains), max(chains, default=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configfile", default="config/experiments/scale.yaml")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    chains, iterations = shape_of(asked.configfile)
    with tempfile.TemporaryDirectory() as folder:
        ours, bare = Path(folder, "ours"), Path(folder, "bare")
        ours.mkdir()
        bare.mkdir()
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, ours / part)
        shutil.copy2(ROOT / "benchmarks/bare.smk", bare / "Snakefile")
        pairs = []
        for _ in range(asked.repeats):
            mine = dry_run(ours, "--configfile", asked.configfile)
            short = (mine.jobs - chains * (3 * iterations + BESIDES_CHAIN)) // SHORT
            sizes = (f"chains={chains}", f"short={short}", f"iterations={iterations}")
            pairs.append((mine, dry_run(bare, "--config", *sizes)))
    for name, runs in zip(("this workflow", "bare"), zip(*pairs, strict=True), strict=True):
        cpu, clock, memory = (
            statistics.median(getattr(run, field) for run in runs)
            for field in ("cpu", "clock", "memory")
        )
        jobs = runs[0].jobs
        print(f"{name:<14} {jobs:>7,} jobs  {cpu:6.1f} s CPU  {clock:6.1f} s  {memory:5.0f} MB")
    ratio = statistics.median(mine.cpu / other.cpu for mine, other in pairs)
    print(f"ratio of CPU seconds {ratio:.2f}, chain of {3 * iterations} jobs and more")


if __name__ == "__main__":
    main()
