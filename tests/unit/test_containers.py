"""The images are made of the pins and the Python of the other two ways to install."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ["Dockerfile", "apptainer.def"]


def commands(recipe: str) -> str:
    """A recipe without its comments."""
    lines = (ROOT / "containers" / recipe).read_text().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_image_has_the_python_of_the_conda_environment(recipe):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (python,) = (d for d in environment["dependencies"] if str(d).startswith("python="))
    (image,) = re.findall(r"^from:? (\S+)$", commands(recipe), re.M | re.I)
    assert image == f"python:{python.removeprefix('python=')}-slim-bookworm"


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_image_installs_the_lock_and_nothing_else(recipe):
    text = commands(recipe)
    installed = re.findall(r"pip install (.*)", text)
    assert installed == ["--no-cache-dir --no-deps -r /opt/requirements.lock"]
    copied = re.findall(r"^(?:COPY)?\s+(\S+) (/opt/\S+)$|^COPY (\S+) (\S+)$", text, re.M)
    assert [pair for found in copied for pair in [tuple(filter(None, found))]] == [
        ("requirements.lock", "/opt/requirements.lock")
    ]
    assert not re.search(r"apt|conda|curl|wget|git ", text)


def test_nothing_but_the_lock_is_sent_to_the_builder():
    lines = (ROOT / "containers/Dockerfile.dockerignore").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["*", "!requirements.lock"]


def test_the_image_of_snakemake_is_the_one_that_the_recipe_says_how_to_build():
    (image,) = re.findall(r'^container: "(.*)"$', (ROOT / "Snakefile").read_text(), re.M)
    recipe = (ROOT / "containers/apptainer.def").read_text()
    assert f"apptainer build {image} containers/apptainer.def" in recipe
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert f"/{Path(image).parent}/*{Path(image).suffix}" in ignored
