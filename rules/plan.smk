# `snakemake plan`: what would run, with its noise, and what it would take. Answered here, while the
# workflow is read, and not by a job: nothing is locked, so that it can be asked while a Snakemake is
# at work, no cores are asked for, and nothing is written but Snakemake's own log. After all other
# rules, as it looks at them.

from workflow_scripts.steps.plan import show_plan

if workflow.is_main_process and asks_for_plan(sys.argv):
    try:
        show_plan(workflow, PLAN, sys.argv)
    except Problem as problem:
        sys.exit(str(problem))
    sys.exit(0)


rule plan:
    """Print what an experiment would run, and what it would take; run nothing."""
    localrule: True
