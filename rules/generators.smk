# Generators that are trained by the workflow, on public data.


rule train_generator:
    """Train a class-conditional diffusion model and save it as a diffusers pipeline."""
    input:
        images=generator_training_images,
    output:
        pipeline=directory("results/public/generators/{generator}/pipeline"),
    log:
        "results/logs/train_generator/{generator}.log",
    benchmark:
        "results/benchmarks/train_generator/{generator}.tsv"
    # The longest job of a small experiment, and everything of its method waits for it.
    priority: 10
    conda:
        "../environment.yml"
    params:
        settings=settings("train_generator"),
    script:
        "../workflow_scripts/steps/train_generator.py"
