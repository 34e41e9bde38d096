"""Differentially private synthetic images: the library behind the workflow's rules.

``steps/`` holds one thin script per rule; every other folder is a stage of the workflow.
Dependencies point one way: steps → stages → (data, privacy). Only ``steps`` and ``step`` know
Snakemake. ``docs/architecture.md`` is the map.
"""
