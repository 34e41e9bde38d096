# Differentially private synthetic images: the table of contents of the workflow.
#
# Paths: results/{sensitive,public,runs,evaluation,reports}/… (docs/architecture.md)
# Labels: name~key, where key is a hash of a stage's settings and of its parents' keys.

from snakemake.utils import min_version

min_version("9.27")


# Only with `--sdm apptainer`; docs/containers.md says how it is built.
container: "containers/dp-image-synthesis.sif"


# Parts of a population that are generated side by side: `snakemake --set-scatter shards=8`.
scattergather:
    shards=1,


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/encoders.smk"
include: "rules/generators.smk"
include: "rules/pe.smk"
include: "rules/semantic.smk"
include: "rules/dpsgd.smk"
include: "rules/privacy.smk"
include: "rules/evaluation.smk"
include: "rules/report.smk"
include: "rules/audits.smk"
include: "rules/plan.smk"


# Below the plan, which counts the jobs with `gpu=1`.
adapt_gpu_requests(workflow)

report_group_errors()


report: "rules/report/workflow.rst"


# Where Snakemake runs, not in jobs of a cluster: there is often no internet on compute nodes.
localrules:
    all,
    fetch_sensitive,
    fetch_public,
    fetch_encoder,
    fetch_generator,


rule all:
    default_target: True
    input:
        experiment_releases,
        report=f"results/reports/{EXPERIMENT}/report.html",


try:
    check_rules(workflow.rules)
except BoundaryViolation as violation:
    sys.exit(f"Privacy boundary: {violation}")


onstart:
    # Here, because jobs of a cluster read this file too, and need no screen.
    from workflow_scripts.monitor import watch

    try:
        with room_for("results"):
            secure_zone()
            declare_caps(PLAN)
    except Problem as problem:
        sys.exit(str(problem))
    watch(workflow, PLAN)
