"""What a user sees while Snakemake runs: runs, not jobs, and failures last.

`tally` counts, `failures` says why a job failed, `screen` shows it, and `handler` takes it from
Snakemake's log. The whole log of Snakemake is in `.snakemake/log` as ever.
"""

from workflow_scripts.monitor.handler import watch

__all__ = ["watch"]
