"""What the workflow adds to Snakemake's own start, and what a step's imports cost.

    python benchmarks/startup.py

Medians of repeated runs, side by side in one session; only the differences and ratios mean
anything, on the machine and at the load of that session.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
REPEATS = 7
# With any parameter at all, Snakemake imports pandas; that is not what this workflow adds.
BARE = 'rule all:\n    output: "out"\n    params: x=1\n    shell: "touch {output}"\n'


def seconds(*command: str, cwd: Path) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)  # noqa: S603 — our own
    return time.perf_counter() - start


def compare(commands: dict[str, tuple[tuple[str, ...], Path]]) -> dict[str, float]:
    """Median seconds of each command; the repeats take turns, so that load falls on all alike."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(REPEATS):
        for name, (command, cwd) in commands.items():
            times[name].append(seconds(*command, cwd=cwd))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    dry_run = (sys.executable, "-m", "snakemake", "-n")
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder)
        (bare / "Snakefile").write_text(BARE)
        found = compare(
            {
                "snakemake -n, one bare rule": (dry_run, bare),
                "snakemake -n, this workflow, one job": (
                    (*dry_run, "--until", "render_public"),
                    ROOT,
                ),
                "snakemake -n, this workflow, the demo": (dry_run, ROOT),
            }
        )
        imports = compare(
            {
                f"import {module}": ((sys.executable, "-c", f"import {module}"), ROOT)
                for module in (
                    "workflow_scripts.step",
                    "workflow_scripts.steps.vote",
                    "workflow_scripts.steps.select",
                    "torch",
                    "diffusers.models.unets.unet_2d",
                )
            }
        )
    baseline = found["snakemake -n, one bare rule"]
    for name, value in found.items():
        print(f"{name:42s} {value:6.2f} s  +{value - baseline:5.2f} s  ×{value / baseline:.2f}")
    for name, value in imports.items():
        print(f"{name:42s} {value:6.2f} s")


if __name__ == "__main__":
    main()
